"""Precision and recall of yes-no decisions."""

import numpy as np
from numpy.typing import ArrayLike

from ctxvision.metrics._checks import known_decisions


def precision_recall_curve(
    scores: ArrayLike, targets: ArrayLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Computes precision and recall at each threshold; a decision is accepted if its score reaches the threshold.

    Args:
        scores: float, any shape; no NaN. All labels of all pictures give the micro average (section 4.2.3).
        targets: zeros and ones (or bool) of the same shape, with at least one 1; -1 is unknown and does not count.

    Returns:
        precision, recall and threshold, float64 [T] each, one entry for each distinct score. Thresholds fall and
        recall rises to 1.

    Raises:
        ValueError: shapes differ, there are no decisions, scores hold NaN, targets are not 0, 1 or -1, or no target is
            1.

    Example:
        >>> precision, recall, threshold = precision_recall_curve([0.9, 0.8, 0.1], [1, 0, 1])
        >>> precision.round(2).tolist(), recall.tolist()
        ([1.0, 0.5, 0.67], [0.5, 0.5, 1.0])
    """
    scores, targets = known_decisions(scores, targets)
    if not targets.any():
        raise ValueError("targets must hold at least one positive, got none: recall needs a positive.")
    order = np.argsort(-scores, kind="stable")
    ranked, found = scores[order], targets[order].cumsum()
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    return found[last] / (last + 1), found[last] / found[-1], ranked[last]


def recall_at_precision(scores: ArrayLike, targets: ArrayLike, precision: float = 0.8) -> float:
    """Returns the highest recall of a threshold with at least this precision; 0.0 if no threshold has it."""
    reached, recall, _ = precision_recall_curve(scores, targets)
    return float(recall[reached >= precision].max(initial=0.0))


def precision_at_recall(scores: ArrayLike, targets: ArrayLike, recalls: ArrayLike) -> np.ndarray:
    """Returns the highest precision of a threshold with at least each recall, float64 of the shape of `recalls`."""
    precision, recall, _ = precision_recall_curve(scores, targets)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return best[np.searchsorted(recall, np.asarray(recalls) - 1e-12)]
