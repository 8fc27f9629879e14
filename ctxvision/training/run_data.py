"""A manifest as arrays: pictures, label numbers and query numbers of each split."""

import dataclasses
import functools
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ctxvision.data import Manifest, Split, check_pictures, load_pictures
from ctxvision.errors import InputError
from ctxvision.training.config import Config


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


class RunData:
    """The splits that a run learns from, decoded once.

    Args:
        folder: of the manifest.
        config: names the label column, the picture size and the seed of the held-out part.

    Raises:
        InputError: the manifest cannot be trained on; see `Manifest`.
    """

    def __init__(self, folder: str | Path, config: Config):
        self.config = config
        self.manifest = Manifest.load(folder, label_column=config.label_column)
        self.manifest.check_for_training(config.multi_label, queries=not config.phrase_table)
        self._loaded: dict[str, tuple[Split, np.ndarray]] = {}

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
        """uint8 [N, S, S, 3] of a split of the run."""
        return self._part(name)[1]

    def split(self, name: str) -> Split:
        """The rows of a split of the run, without pictures that could not be decoded."""
        return self._part(name)[0]

    def label_ids(self, name: str) -> np.ndarray:
        """int32 [N] label numbers of a split of a run of one label a picture."""
        if self.config.multi_label:
            raise InputError(
                "this needs a run of one label a picture, got one of several (multi_label): train another run, or use "
                "the suite multi-label."
            )
        return np.array([self._number[row[0]] for row in self.split(name).labels], np.int32)

    def label_targets(self, name: str) -> np.ndarray:
        """What a head learns of a split: `label_ids`, or under `multi_label` float32 [N, L] of zeros and ones."""
        if not self.config.multi_label:
            return self.label_ids(name)
        rows = self.split(name).labels
        targets = np.zeros((len(rows), len(self.labels)), np.float32)
        for target, row in zip(targets, rows):
            target[[self._number[label] for label in row]] = 1.0
        return targets

    @functools.cached_property
    def _number(self) -> dict[str, int]:
        return {label: i for i, label in enumerate(self.labels)}

    @functools.cached_property
    def query_log(self) -> QueryLog:
        """The queries of the `web` split."""
        rows = self.split("web").queries
        languages: dict[str, str] = {}
        counts: Counter[str] = Counter()
        for row in rows:
            for query in row:
                counts[query.text] += 1
                languages.setdefault(query.text, query.language)
        phrases = sorted(counts, key=lambda phrase: (-counts[phrase], phrase))
        number = {phrase: i for i, phrase in enumerate(phrases)}
        pairs = [(i, number[query.text]) for i, row in enumerate(rows) for query in row]
        pair_picture, pair_query = np.array(pairs, np.int32).reshape(-1, 2).T
        return QueryLog(
            phrases,
            [languages[phrase] for phrase in phrases],
            np.array([counts[phrase] for phrase in phrases], np.int64),
            pair_picture,
            pair_query,
        )

    def fraction_of(self, name: str, fraction: float) -> np.ndarray:
        """Rows of a labelled split that make up `fraction` of each label, at least one each.

        A smaller fraction's rows are part of a larger one's. A picture of several labels counts for its rarest.
        """
        labels = self.split(name).labels
        order = np.random.default_rng([self.config.seed, 1]).permutation(len(labels)).tolist()
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
        pictures, undecodable = load_pictures(split.paths, self.config.image_size)
        kept = check_pictures(split, undecodable)
        return kept, np.delete(pictures, undecodable, axis=0) if undecodable else pictures

    def _hold_out_val(self) -> None:
        split, pictures = self._read("train")
        order = np.random.default_rng([self.config.seed, 0]).permutation(len(split.paths)).tolist()
        val = np.zeros(len(split.paths), bool)
        for rows in _strata(split.labels, order):
            val[rows[: math.ceil(len(rows) / 10) if len(rows) > 1 else 0]] = True
        val[_first_of_each_label(split.labels, order[::-1])] = False  # `train` keeps every label
        for name, mask in (("train", ~val), ("val", val)):
            part = dataclasses.replace(split.take(np.flatnonzero(mask)), name=name)
            self._loaded[name] = part, pictures[mask]


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
