"""Draws rows of a labelled split so that each label keeps its share."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

Labels = Sequence[tuple[str, ...]]


def fraction_rows(labels: Labels, fraction: float, seed: int) -> np.ndarray:
    """Returns the rows that make up `fraction` of each label, at least one row per label.

    The rows of a smaller fraction are part of the rows of a larger one. A picture with several labels counts for its
    rarest label.
    """
    order = np.random.default_rng([seed, 1]).permutation(len(labels)).tolist()
    chosen = set(_first_of_each_label(labels, order))
    for rows in _strata(labels, order):
        chosen.update(rows[: max(1, round(fraction * len(rows)))])
    return np.array(sorted(chosen))


def is_held_out(labels: Labels, ids: np.ndarray, seed: int) -> np.ndarray:
    """Chooses a tenth of each label for `val`; the rest keeps at least one row of every label.

    Args:
        labels: the labels of N rows.
        ids: digests of the rows' pictures, see `ids_of`.
        seed: seed of the choice.

    Returns:
        bool [N]: True for the rows of `val`.
    """
    order = np.random.default_rng([seed, 0]).permutation(len(labels)).tolist()
    # All copies of a picture go into the same part; else `val` would hold pictures that are learnt from.
    _, first, picture = np.unique(ids, axis=0, return_index=True, return_inverse=True)
    originals, val = set(first.tolist()), np.zeros(len(labels), bool)
    for rows in _strata(labels, [row for row in order if row in originals]):
        val[rows[: math.ceil(len(rows) / 10) if len(rows) > 1 else 0]] = True
    val = val[first[picture.ravel()]]
    kept = picture.ravel()[_first_of_each_label(labels, order[::-1])]
    return val & ~np.isin(picture.ravel(), kept)  # `train` keeps every label


def _strata(labels: Labels, order: Sequence[int]) -> list[list[int]]:
    """Groups rows by the rarest of each row's labels; rows keep the given order."""
    counts = Counter(label for row in labels for label in row)
    strata: dict[str | None, list[int]] = {}
    for row in order:
        rarest = min(labels[row], key=lambda label: (counts[label], label), default=None)
        strata.setdefault(rarest, []).append(row)
    return list(strata.values())


def _first_of_each_label(labels: Labels, order: Sequence[int]) -> list[int]:
    """Returns the first row of each label in the given order."""
    first: dict[str, int] = {}
    for row in order:
        for label in labels[row]:
            first.setdefault(label, row)
    return list(first.values())
