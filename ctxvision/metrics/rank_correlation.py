"""Rank correlation of two quantities."""

import numpy as np
from numpy.typing import ArrayLike


def spearman(first: ArrayLike, second: ArrayLike) -> float:
    """Computes Spearman's rank correlation (`scipy.stats.spearmanr`); equal values share their mean rank.

    Args:
        first, second: float [N], N at least 2, finite, neither of them constant.

    Returns:
        A float in -1..1.

    Raises:
        ValueError: the shapes differ, there is more than one axis, a value is not finite, or one of the two is
            constant.

    Example:
        >>> round(spearman([1, 2, 3], [10, 100, 1000]), 6)
        1.0
    """
    from scipy.stats import spearmanr

    pair = [np.asarray(values, float) for values in (first, second)]
    if pair[0].ndim != 1 or pair[0].shape != pair[1].shape or not np.isfinite(pair).all():
        raise ValueError(
            f"first and second must be finite numbers [N], got shapes {pair[0].shape} and {pair[1].shape}: give one "
            "number of each for every item."
        )
    if any(len(np.unique(values)) < 2 for values in pair):
        raise ValueError(
            "first and second must each hold two different values, got a constant: a constant has no ranks."
        )
    return float(spearmanr(*pair).statistic)
