"""Input checks that several metrics share."""

import numpy as np
from numpy.typing import ArrayLike


def check_decisions(
    scores: ArrayLike, targets: ArrayLike, dimensions: int | None = None, unknown: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Returns scores and targets as arrays of one shape, targets as float64.

    Args:
        scores: numbers without NaN.
        targets: zeros and ones (or bool) of the same shape.
        dimensions: the number of axes, any by default.
        unknown: whether targets may also be -1, for unknown.

    Raises:
        ValueError: scores or targets break these rules, or are empty.
    """
    score, target = np.asarray(scores), np.asarray(targets)
    if score.shape != target.shape or not score.size or dimensions not in (None, score.ndim):
        raise ValueError(
            f"scores and targets must have one shape with at least one row, got {score.shape} and {target.shape}: "
            "give one score and one target for every decision."
        )
    if np.isnan(score).any():
        raise ValueError(
            f"scores must not hold NaN, got {np.isnan(score).sum()}: check the model's inputs and loss."
        )
    allowed = (-1, 0, 1) if unknown else (0, 1)
    if not np.isin(target, allowed).all():
        raise ValueError(
            f"targets must be {'0, 1 or -1' if unknown else '0 or 1'}, got {np.setdiff1d(target, allowed)[0]}: mark true "
            "decisions with 1."
        )
    return score, target.astype(float)


def known_decisions(scores: ArrayLike, targets: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Returns scores and targets, both [N], of the decisions with a known target (not -1); see `check_decisions`."""
    score, target = check_decisions(scores, targets, unknown=True)
    return score[target >= 0], target[target >= 0]
