"""Turns a manifest into arrays: pictures, label numbers and query numbers of each split."""

import dataclasses
import functools
import hashlib
import math
import os
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ctxvision._files import atomic_path, file_name, read_json, write_json
from ctxvision.data import Split, check_pictures, load_data, load_encoded, load_pictures
from ctxvision.data.source import Source
from ctxvision.errors import InputError
from ctxvision.training.data_facts import source_name
from ctxvision.training.shared_features import ids_of

MOST_IN_MEMORY = 2 << 30
UNKNOWN = -1.0


class QueryLog(NamedTuple):
    """The queries of the `web` split, in descending order of count; equal counts are sorted by text.

    Attributes:
        phrases: the Q texts.
        languages: the Q language codes.
        counts: int64 [Q], pictures per query.
        pair_picture: int32 [P], rows of pictures.
        pair_query: int32 [P], numbers of the queries that led to these pictures.
    """

    phrases: list[str]
    languages: list[str]
    counts: np.ndarray
    pair_picture: np.ndarray
    pair_query: np.ndarray


class LoadedData:
    """Loads and decodes the splits that a context or a run learns from.

    Each split is decoded once and held in memory. A split of more than `MOST_IN_MEMORY` bytes is kept in a
    memory-mapped file instead: it takes that much disk, and only as much memory as the machine can spare.

    Args:
        source: source of the data, see `load_data`.
        image_size: side S in pixels of the decoded pictures.
        seed: seed of the held-out part and of fractions.
        label_column: column of the labels, or several columns separated by `|`.
        multi_label: whether a picture may have several labels.
        folder: folder for the files of large splits; None keeps all pictures in memory.
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
        rows = self.split("web").queries
        number: dict[str, int] = {}
        languages: list[str] = []
        queries = array("i")
        for row in rows:
            for query in row:
                if query.text not in number:
                    number[query.text] = len(number)
                    languages.append(query.language)
                queries.append(number[query.text])
        texts, pair_query = list(number), np.array(queries, np.int32)
        counts = np.bincount(pair_query, minlength=len(texts))
        order = sorted(range(len(texts)), key=lambda i: (-counts[i], texts[i]))
        rank = np.empty(len(texts), np.int32)
        rank[order] = np.arange(len(texts))
        return QueryLog(
            [texts[i] for i in order],
            [languages[i] for i in order],
            counts[order].astype(np.int64),
            np.repeat(np.arange(len(rows), dtype=np.int32), [len(row) for row in rows]),
            rank[pair_query],
        )

    def fraction_of(self, name: str, fraction: float) -> np.ndarray:
        """Returns the rows of a labelled split that make up `fraction` of each label, at least one row per label.

        The rows of a smaller fraction are part of the rows of a larger one. A picture with several labels counts for
        its rarest label.
        """
        labels = self.split(name).labels
        order = np.random.default_rng([self.seed, 1]).permutation(len(labels)).tolist()
        chosen = set(_first_of_each_label(labels, order))
        for rows in _strata(labels, order):
            chosen.update(rows[: max(1, round(fraction * len(rows)))])
        return np.array(sorted(chosen))

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
        return kept, self._rows(f"{name}-decodable", pictures, rows, split)

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
        size = self.image_size
        shape = (len(split), size, size, 3)

        def decode(out: np.ndarray) -> list[int]:
            if split.stored is None:
                return load_pictures(split.paths, size, out)[1]
            return load_encoded(split.encoded(), len(split), size, out)[1]

        found = self._kept(split.name, shape, decode, split)
        if sum(other.paths is split.paths for other in self.manifest.by_split.values()) > 1:
            self._shared[id(split.paths)] = found  # `web` and `train` of the same pictures
        return found

    def _rows(self, name: str, pictures: np.ndarray, rows: np.ndarray, split: Split) -> np.ndarray:
        """Copies these rows of the pictures into a new array."""

        def copy(out: np.ndarray) -> list[int]:
            for start in range(0, len(rows), 1024):
                out[start : start + 1024] = pictures[rows[start : start + 1024]]
            return []

        return self._kept(name, (len(rows), *pictures.shape[1:]), copy, split)[0]

    def _kept(
        self, name: str, shape: tuple[int, ...], fill: Callable[[np.ndarray], list[int]], split: Split
    ) -> tuple[np.ndarray, list[int]]:
        """Returns a uint8 array that `fill` has filled, and the result of `fill`.

        The array is in memory, or in a file that an earlier call filled from the same files of `split`.
        """
        if self.folder is None or math.prod(shape) <= MOST_IN_MEMORY:
            pictures = np.zeros(shape, np.uint8)
            return pictures, fill(pictures)
        path = self.folder / f"{file_name(name)}.npy"
        facts, made_from = path.with_suffix(".json"), _files_digest(split)
        if not facts.is_file() or (made_from and read_json(facts)["made_from"] != made_from):
            with atomic_path(path) as temporary:
                mapped = np.lib.format.open_memmap(temporary, "w+", np.uint8, shape)
                failed = fill(mapped)
                mapped.flush()
                del mapped
            write_json(facts, {"undecodable": failed, "made_from": made_from})
        return np.load(path, mmap_mode="r", allow_pickle=False), read_json(facts)["undecodable"]

    def _hold_out_val(self) -> None:
        split, pictures = self._read("train")
        order = np.random.default_rng([self.seed, 0]).permutation(len(split.paths)).tolist()
        # All copies of a picture go into the same part; else `val` would hold pictures that are learnt from.
        _, first, picture = np.unique(ids_of(pictures), axis=0, return_index=True, return_inverse=True)
        originals, val = set(first.tolist()), np.zeros(len(split.paths), bool)
        for rows in _strata(split.labels, [row for row in order if row in originals]):
            val[rows[: math.ceil(len(rows) / 10) if len(rows) > 1 else 0]] = True
        val = val[first[picture.ravel()]]
        kept = picture.ravel()[_first_of_each_label(split.labels, order[::-1])]
        val &= ~np.isin(picture.ravel(), kept)  # `train` keeps every label
        for name, chosen in (("train", np.flatnonzero(~val)), ("val", np.flatnonzero(val))):
            part = dataclasses.replace(split.take(chosen), name=name)
            self._loaded[name] = part, self._rows(f"{name}-held-out", pictures, chosen, split)


def _files_digest(split: Split) -> str:
    """Returns a digest of names, sizes and times of a split's files; "" for pictures that lie inside other files."""
    found = []
    for path in split.paths if split.stored is None else []:
        with suppress(OSError):
            status = os.stat(path)
            found.append(f"{path} {status.st_size} {status.st_mtime_ns}")
    return hashlib.blake2b("\n".join(found).encode(), digest_size=16).hexdigest() if found else ""


def _strata(labels: Sequence[tuple[str, ...]], order: Sequence[int]) -> list[list[int]]:
    """Groups rows by the rarest of each row's labels; rows keep the given order."""
    counts = Counter(label for row in labels for label in row)
    strata: dict[str | None, list[int]] = {}
    for row in order:
        rarest = min(labels[row], key=lambda label: (counts[label], label), default=None)
        strata.setdefault(rarest, []).append(row)
    return list(strata.values())


def _first_of_each_label(labels: Sequence[tuple[str, ...]], order: Sequence[int]) -> list[int]:
    """Returns the first row of each label in the given order."""
    first: dict[str, int] = {}
    for row in order:
        for label in labels[row]:
            first.setdefault(label, row)
    return list(first.values())
