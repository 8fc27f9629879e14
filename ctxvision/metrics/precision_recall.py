"""Precision against recall, over any set of yes-no decisions."""

import numpy as np
from numpy.typing import ArrayLike

from ctxvision.metrics._checks import known_decisions


def precision_recall_curve(
    scores: ArrayLike, targets: ArrayLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision and recall when everything that scores at least a threshold is accepted.

    Args:
        scores: float, any shape; no NaN. All labels of all pictures together are the micro average (section 4.2.3).
        targets: zeros and ones (or bool) of the same shape, at least one of them 1; -1 is unknown and does not count.

    Returns:
        precision, recall and threshold, float64 [T], one for each distinct score, by falling threshold: recall rises
        to 1.

    Raises:
        ValueError: shapes that differ, nothing at all, NaN, targets that are not 0 or 1, or no positive.

    Example:
        >>> precision, recall, threshold = precision_recall_curve([0.9, 0.8, 0.1], [1, 0, 1])
        >>> precision.round(2).tolist(), recall.tolist()
        ([1.0, 0.5, 0.67], [0.5, 0.5, 1.0])
    """
    scores, targets = known_decisions(scores, targets)
    if not targets.any():
        raise ValueError("targets must hold at least one positive, got none: recall is not defined.")
    order = np.argsort(-scores, kind="stable")
    ranked, found = scores[order], targets[order].cumsum()
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    return found[last] / (last + 1), found[last] / found[-1], ranked[last]


def recall_at_precision(scores: ArrayLike, targets: ArrayLike, precision: float = 0.8) -> float:
    """The highest recall that a threshold reaches at this precision or a higher one; 0.0 where none does."""
    reached, recall, _ = precision_recall_curve(scores, targets)
    return float(recall[reached >= precision].max(initial=0.0))


def precision_at_recall(scores: ArrayLike, targets: ArrayLike, recalls: ArrayLike) -> np.ndarray:
    """float64 like `recalls`: the highest precision that a threshold reaches at each recall or a higher one."""
    precision, recall, _ = precision_recall_curve(scores, targets)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return best[np.searchsorted(recall, np.asarray(recalls) - 1e-12)]
