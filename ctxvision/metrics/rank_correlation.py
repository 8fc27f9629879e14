"""Whether one quantity rises with another."""

import numpy as np
from numpy.typing import ArrayLike


def spearman(first: ArrayLike, second: ArrayLike) -> float:
    """Spearman's rank correlation, in -1..1; equal values share their mean rank.

    Args:
        first, second: float [N], N at least 2, finite, neither of them constant.

    Raises:
        ValueError: they are not such.

    Example:
        >>> round(spearman([1, 2, 3], [10, 100, 1000]), 6)
        1.0
    """
    pair = [np.asarray(values, float) for values in (first, second)]
    if pair[0].ndim != 1 or pair[0].shape != pair[1].shape or not np.isfinite(pair).all():
        raise ValueError(
            f"first and second must be finite numbers [N], got shapes {pair[0].shape} and {pair[1].shape}: give one of "
            "each for every thing."
        )
    if any(len(set(values.tolist())) < 2 for values in pair):
        raise ValueError(
            "first and second must each hold two different values, got a constant: nothing can rise."
        )
    return float(np.corrcoef(_ranks(pair[0]), _ranks(pair[1]))[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    ordered = np.sort(values)
    return (np.searchsorted(ordered, values) + np.searchsorted(ordered, values, side="right")) / 2
