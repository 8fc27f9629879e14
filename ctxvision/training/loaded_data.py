"""Turns a manifest into arrays: pictures, label numbers and query numbers of each split."""

import dataclasses
import functools
import hashlib
from pathlib import Path

import numpy as np

from ctxvision._files import read_json, write_json
from ctxvision.data import Split, check_pictures, load_data
from ctxvision.data.source import Source
from ctxvision.errors import InputError
from ctxvision.training.data_facts import source_name
from ctxvision.training.picture_arrays import PictureArrays
from ctxvision.training.query_log import QueryLog
from ctxvision.training.shared_features import ids_of
from ctxvision.training.strata import fraction_rows, is_held_out

UNKNOWN = -1.0


class LoadedData:
    """Loads and decodes the splits that a context or a run learns from; each split is decoded once.

    Args:
        source: source of the data, see `load_data`.
        image_size: side S in pixels of the decoded pictures.
        seed: seed of the held-out part and of fractions.
        label_column: column of the labels, or several columns separated by `|`.
        multi_label: whether a picture may have several labels.
        folder: folder for the files of large splits, see `PictureArrays`; None keeps all pictures in memory.
        merge_labels: whether labels that look alike are merged.
        known: file with a digest of each split's pictures, written when the split is first decoded and compared
            later; None keeps no digests.

    Raises:
        InputError: the data does not exist; see `Manifest`.
    """

    def __init__(
        self,
        source: Source,
        image_size: int,
        seed: int = 0,
        label_column: str = "label",
        multi_label: bool = False,
        folder: Path | None = None,
        merge_labels: bool = False,
        known: Path | None = None,
    ):
        self.image_size = image_size
        self.seed = seed
        self.multi_label = multi_label
        self.folder = folder
        self._known = known
        self._arrays = PictureArrays(image_size, folder)
        self.manifest = load_data(source, label_column, merge_labels)
        self.name = source_name(source)
        self._loaded: dict[str, tuple[Split, np.ndarray]] = {}
        self._shared: dict[int, tuple[np.ndarray, list[int]]] = {}

    @property
    def test_splits(self) -> list[str]:
        """Names of the test splits in the manifest: `test` or `test:NAME`."""
        return [name for name in self.manifest.splits if name.partition(":")[0] == "test"]

    @functools.cached_property
    def labels(self) -> list[str]:
        """The L distinct labels of the labelled pictures, sorted."""
        names = [n for n in ("pretrain", "train") if n in self.manifest.splits]
        return sorted({label for name in names for row in self.manifest.split(name).labels for label in row})

    def pictures(self, name: str) -> np.ndarray:
        """Returns the pictures of a split, uint8 [N, S, S, 3]."""
        return self._part(name)[1]

    def split(self, name: str) -> Split:
        """Returns the rows of a split, without pictures that cannot be decoded."""
        return self._part(name)[0]

    def label_ids(self, name: str) -> np.ndarray:
        """Returns the label numbers int32 [N] of a split with one label per picture.

        Raises:
            InputError: pictures may have several labels.
        """
        if self.multi_label:
            raise InputError(
                "this needs a run of one label a picture, got one of several (multi_label): train another run, "
                "or use the suite multi-label."
            )
        return np.array([self._number[row[0]] for row in self.split(name).labels], np.int32)

    def label_targets(self, name: str) -> np.ndarray:
        """Returns the training targets of a split: `label_ids`, or under `multi_label` float32 [N, L] of 0 and 1.

        If the data lists absent labels (`Split.absent`), a label that is neither present nor absent is -1.
        """
        if not self.multi_label:
            return self.label_ids(name)
        split = self.split(name)
        targets = np.full(
            (len(split), len(self.labels)), 0.0 if split.absent is None else UNKNOWN, np.float32
        )
        for rows, value in ((split.absent or [], 0.0), (split.labels, 1.0)):
            for target, row in zip(targets, rows):
                target[[self._number[label] for label in row]] = value
        return targets

    @functools.cached_property
    def _number(self) -> dict[str, int]:
        return {label: i for i, label in enumerate(self.labels)}

    @functools.cached_property
    def query_log(self) -> QueryLog:
        """The queries of the `web` split."""
        return QueryLog.of(self.split("web").queries)

    def fraction_of(self, name: str, fraction: float) -> np.ndarray:
        """Returns rows of a labelled split, see `fraction_rows`."""
        return fraction_rows(self.split(name).labels, fraction, self.seed)

    def _part(self, name: str) -> tuple[Split, np.ndarray]:
        """Loads a split; `pretrain` falls back to `train`, a missing `val` to a tenth of each label of `train`."""
        splits = self.manifest.splits
        if name == "pretrain" and name not in splits:
            return self._part("train")
        if name not in self._loaded:
            if name in ("train", "val") and "val" not in splits:
                self._hold_out_val()
            else:
                self._loaded[name] = self._read(name)
        return self._loaded[name]

    def _read(self, name: str) -> tuple[Split, np.ndarray]:
        split = self.manifest.require_split(name)
        pictures, undecodable = self._decoded(split)
        self._check_unchanged(name, pictures)
        kept = check_pictures(split, undecodable)
        if not undecodable:
            return split, pictures
        rows = np.delete(np.arange(len(split)), undecodable)
        return kept, self._arrays.rows(f"{name}-decodable", pictures, rows, split)

    def _check_unchanged(self, name: str, pictures: np.ndarray) -> None:
        """Raises if a split's pictures differ from those that a part was trained on."""
        if self._known is None:
            return
        before = read_json(self._known) if self._known.is_file() else {}
        digest = hashlib.blake2b(ids_of(pictures).data, digest_size=16).hexdigest()
        if name not in before:
            write_json(self._known, {**before, name: digest})
        elif before[name] != digest:
            raise InputError(
                f"the pictures of split {name!r} in {self.name!r} must be the training pictures of "
                f"{str(self._known.parent)!r}, got other pictures under the same names: restore the pictures, or train "
                "in another folder."
            )

    def _decoded(self, split: Split) -> tuple[np.ndarray, list[int]]:
        """Returns the pictures of a split, and the rows of the pictures that cannot be decoded."""
        if (shared := self._shared.get(id(split.paths))) is not None:
            return shared
        found = self._arrays.decoded(split)
        if sum(other.paths is split.paths for other in self.manifest.by_split.values()) > 1:
            self._shared[id(split.paths)] = found  # `web` and `train` of the same pictures
        return found

    def _hold_out_val(self) -> None:
        split, pictures = self._read("train")
        val = is_held_out(split.labels, ids_of(pictures), self.seed)
        for name, chosen in (("train", np.flatnonzero(~val)), ("val", np.flatnonzero(val))):
            part = dataclasses.replace(split.take(chosen), name=name)
            self._loaded[name] = part, self._arrays.rows(f"{name}-held-out", pictures, chosen, split)
