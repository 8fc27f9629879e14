"""Ranks of right answers."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike


def mean_reciprocal_rank(hits: ArrayLike) -> float:
    """Computes the mean of 1 / place of each row's first hit; a row without a hit counts 0.

    Args:
        hits: bool [N, K] from `phrase_hits`, best first.

    Returns:
        A float in 0..1.

    Raises:
        ValueError: there are no rows, or `hits` is not a bool matrix.

    Example:
        >>> mean_reciprocal_rank([[False, True], [False, False]])
        0.25
    """
    matrix = np.asarray(hits)
    if matrix.ndim != 2 or 0 in matrix.shape or matrix.dtype != bool:
        raise ValueError(
            f"hits must be a bool matrix [N, K] with at least one row, got {matrix.dtype} of shape "
            f"{matrix.shape}; make it with phrase_hits."
        )
    return float(np.where(matrix.any(axis=1), 1 / (matrix.argmax(axis=1) + 1), 0.0).mean())


def filtered_ranks(scores: ArrayLike, targets: ArrayLike, others: Sequence[ArrayLike]) -> np.ndarray:
    """Returns the filtered rank of each row's target: other right answers do not count (Bordes et al. 2013).

    Args:
        scores: float [N, C] of C candidates, no NaN.
        targets: int [N], the column of each row's target.
        others: N lists of columns to leave out of the row's candidates; a list may hold the target, which stays.

    Returns:
        float64 [N]: the number of candidates with a higher score, plus half of the number with an equal score.

    Raises:
        ValueError: the three differ in length, or scores hold NaN.

    Example:
        >>> filtered_ranks([[0.9, 0.5, 0.7]], [1], [[0]]).tolist()
        [1.0]
    """
    values, truth = np.asarray(scores, dtype=float), np.asarray(targets)
    if values.ndim != 2 or not len(values) == len(truth) == len(others) or np.isnan(values).any():
        raise ValueError(
            f"scores must be [N, C] without NaN, with N targets and N others, got shape {values.shape}, {len(truth)} "
            f"and {len(others)}: give one target and one list for every row."
        )
    ranks = np.empty(len(values))
    for row, (line, target, left_out) in enumerate(zip(values, truth, others, strict=True)):
        rivals = np.ones(len(line), bool)
        rivals[np.append(np.asarray(left_out, np.int64), target)] = False
        ranks[row] = (line[rivals] > line[target]).sum() + (line[rivals] == line[target]).sum() / 2
    return ranks


def word_overlap(phrase: set[str], other: set[str]) -> float:
    """Computes the intersection over union of two sets of words; 0.0 if both are empty.

    Example:
        >>> word_overlap({"red", "fox"}, {"fox"})
        0.5
    """
    either = phrase | other
    return len(phrase & other) / len(either) if either else 0.0
