"""A manifest as arrays: pictures, label numbers and query numbers of each split."""

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
    """The queries of the `web` split, by falling count (ties by text).

    `phrases` and `languages` are lists of length Q, `counts` int64 [Q]; `pair_picture` and `pair_query` int32
    [P] name the pictures and the queries that led to them.
    """

    phrases: list[str]
    languages: list[str]
    counts: np.ndarray
    pair_picture: np.ndarray
    pair_query: np.ndarray


class LoadedData:
    """The splits that a context or a run learns from, decoded once.

    Decoded pictures are held in memory. Those of a split of more than `MOST_IN_MEMORY` bytes are kept in a file instead,
    and mapped: they take that much disk, are decoded once, and of memory what the machine has to spare.

    Args:
        source: of the data, see `load_data`.
        image_size: side S in pixels that pictures are decoded to.
        seed: of the held-out part and of fractions.
        label_column: the column that holds the labels, or several separated by `|`.
        multi_label: whether a picture may have several labels.
        folder: for the files of large splits; None keeps all in memory.
        merge_labels: whether labels that look alike become one.
        known: a file that remembers what the pictures of each split were, when they were first decoded; None: nothing is
            remembered.

    Raises:
        InputError: there is no such data; see `Manifest`.
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
        """The L labels of the labelled pictures, sorted."""
        names = [n for n in ("pretrain", "train") if n in self.manifest.splits]
        return sorted({label for name in names for row in self.manifest.split(name).labels for label in row})

    def pictures(self, name: str) -> np.ndarray:
        """uint8 [N, S, S, 3] of a split."""
        return self._part(name)[1]

    def split(self, name: str) -> Split:
        """The rows of a split, without pictures that could not be decoded."""
        return self._part(name)[0]

    def label_ids(self, name: str) -> np.ndarray:
        """int32 [N] label numbers of a split of one label a picture."""
        if self.multi_label:
            raise InputError(
                "this needs a run of one label a picture, got one of several (multi_label): train another run, or use "
                "the suite multi-label."
            )
        return np.array([self._number[row[0]] for row in self.split(name).labels], np.int32)

    def label_targets(self, name: str) -> np.ndarray:
        """What a head learns of a split: `label_ids`, or under `multi_label` float32 [N, L] of zeros and ones.

        Where the data says what is absent (`Split.absent`), a label that nobody looked for is -1: neither.
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
        """Rows of a labelled split that make up `fraction` of each label, at least one each.

        A smaller fraction's rows are part of a larger one's. A picture of several labels counts for its rarest.
        """
        labels = self.split(name).labels
        order = np.random.default_rng([self.seed, 1]).permutation(len(labels)).tolist()
        chosen = set(_first_of_each_label(labels, order))
        for rows in _strata(labels, order):
            chosen.update(rows[: max(1, round(fraction * len(rows)))])
        return np.array(sorted(chosen))

    def _part(self, name: str) -> tuple[Split, np.ndarray]:
        """`pretrain` falls back to `train`; without a `val` split a tenth of each label of `train` is held out."""
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
        """Refuses other pictures than those that a part was trained on; they would be taken for the same."""
        if self._known is None:
            return
        before = read_json(self._known) if self._known.is_file() else {}
        digest = hashlib.blake2b(ids_of(pictures).data, digest_size=16).hexdigest()
        if name not in before:
            write_json(self._known, {**before, name: digest})
        elif before[name] != digest:
            raise InputError(
                f"the pictures of split {name!r} in {self.name!r} must be those that {str(self._known.parent)!r} was trained "
                "on, got others under the same names: put them back, or train anew in another folder."
            )

    def _decoded(self, split: Split) -> tuple[np.ndarray, list[int]]:
        """The pictures of a split, and the rows of those that cannot be decoded."""
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
        """These rows of the pictures, as an array of their own."""

        def copy(out: np.ndarray) -> list[int]:
            for start in range(0, len(rows), 1024):
                out[start : start + 1024] = pictures[rows[start : start + 1024]]
            return []

        return self._kept(name, (len(rows), *pictures.shape[1:]), copy, split)[0]

    def _kept(
        self, name: str, shape: tuple[int, ...], fill: Callable[[np.ndarray], list[int]], split: Split
    ) -> tuple[np.ndarray, list[int]]:
        """A filled array uint8, and what `fill` returned.

        It is in memory, or in a file that an earlier call has filled from the same files of `split`.
        """
        if self.folder is None or math.prod(shape) <= MOST_IN_MEMORY:
            pictures = np.zeros(shape, np.uint8)
            return pictures, fill(pictures)
        path = self.folder / f"{file_name(name)}.npy"
        told, made_from = path.with_suffix(".json"), _files_digest(split)
        if not told.is_file() or (made_from and read_json(told)["made_from"] != made_from):
            with atomic_path(path) as temporary:
                mapped = np.lib.format.open_memmap(temporary, "w+", np.uint8, shape)
                failed = fill(mapped)
                mapped.flush()
                del mapped
            write_json(told, {"undecodable": failed, "made_from": made_from})
        return np.load(path, mmap_mode="r", allow_pickle=False), read_json(told)["undecodable"]

    def _hold_out_val(self) -> None:
        split, pictures = self._read("train")
        order = np.random.default_rng([self.seed, 0]).permutation(len(split.paths)).tolist()
        # Copies of a picture go together: one that is learnt from would be judged by.
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
    """Of names, sizes and times of a split's files; "" where there are none, as of pictures that lie in other files."""
    found = []
    for path in split.paths if split.stored is None else []:
        with suppress(OSError):
            told = os.stat(path)
            found.append(f"{path} {told.st_size} {told.st_mtime_ns}")
    return hashlib.blake2b("\n".join(found).encode(), digest_size=16).hexdigest() if found else ""


def _strata(labels: Sequence[tuple[str, ...]], order: Sequence[int]) -> list[list[int]]:
    """Rows in the given order, grouped by the rarest of each row's labels."""
    counts = Counter(label for row in labels for label in row)
    strata: dict[str | None, list[int]] = {}
    for row in order:
        rarest = min(labels[row], key=lambda label: (counts[label], label), default=None)
        strata.setdefault(rarest, []).append(row)
    return list(strata.values())


def _first_of_each_label(labels: Sequence[tuple[str, ...]], order: Sequence[int]) -> list[int]:
    """The row of each label that comes first in the order."""
    first: dict[str, int] = {}
    for row in order:
        for label in labels[row]:
            first.setdefault(label, row)
    return list(first.values())
