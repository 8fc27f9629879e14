"""What several metrics refuse."""

import numpy as np
from numpy.typing import ArrayLike


def check_decisions(
    scores: ArrayLike, targets: ArrayLike, dimensions: int | None = None, unknown: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Both as arrays of one shape, targets as float64 zeros and ones; a ValueError where they are not.

    Where `unknown`, targets may be -1 as well: nobody knows.
    """
    score, target = np.asarray(scores), np.asarray(targets)
    if score.shape != target.shape or not score.size or dimensions not in (None, score.ndim):
        raise ValueError(
            f"scores and targets must have one shape with at least one row, got {score.shape} and {target.shape}: "
            "give one of each for every decision."
        )
    if np.isnan(score).any():
        raise ValueError(
            f"scores must not hold NaN, got {np.isnan(score).sum()}: look at the model's inputs and loss."
        )
    if not np.isin(target, (-1, 0, 1) if unknown else (0, 1)).all():
        raise ValueError(
            f"targets must be 0 or 1, got {np.setdiff1d(target, (0, 1))[0]!r}: mark what is true with 1."
        )
    return score, target.astype(float)


def known_decisions(scores: ArrayLike, targets: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Both [N], of the decisions whose target is known (not -1), as `check_decisions` gives them."""
    score, target = check_decisions(scores, targets, unknown=True)
    return score[target >= 0], target[target >= 0]
