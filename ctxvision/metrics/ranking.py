"""How far up the right answer stands."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike


def mean_reciprocal_rank(hits: ArrayLike) -> float:
    """The mean of 1 / place of each row's first hit; 0 for a row without one.

    Args:
        hits: bool [N, K], best first; what stands after the K-th is not seen.

    Returns:
        A float in 0..1.

    Raises:
        ValueError: for no rows, or anything but a bool matrix.

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
    """The place of each row's target, when other right answers do not count against it (Bordes et al. 2013).

    Args:
        scores: float [N, C] of C candidates, no NaN.
        targets: int [N], the column of each row's target.
        others: N lists of columns that are left out of the row's candidates; the target may be among them.

    Returns:
        float64 [N]: candidates with a higher score, and half of those with an equal one; 0 is the best.

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
            f"and {len(others)}: give one of each for every row."
        )
    ranks = np.empty(len(values))
    for row, (line, target, left_out) in enumerate(zip(values, truth, others, strict=True)):
        rivals = np.ones(len(line), bool)
        rivals[np.append(np.asarray(left_out, np.int64), target)] = False
        ranks[row] = (line[rivals] > line[target]).sum() + (line[rivals] == line[target]).sum() / 2
    return ranks


def word_overlap(phrase: set[str], other: set[str]) -> float:
    """Words in both over words in either (intersection over union); 0.0 where there are none.

    Example:
        >>> word_overlap({"red", "fox"}, {"fox"})
        0.5
    """
    either = phrase | other
    return len(phrase & other) / len(either) if either else 0.0
