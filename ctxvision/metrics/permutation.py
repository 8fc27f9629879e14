"""Permutation test of paired differences."""

import numpy as np
from numpy.typing import ArrayLike


def sign_flip_p_value(differences: ArrayLike, draws: int = 10000, seed: int = 0) -> float:
    """Computes the two-sided p value of paired differences, if each sign were equally likely.

    The p value is the share of sign flips whose mean lies at least as far from 0 as the measured mean
    (`scipy.stats.permutation_test`). If there are at most `draws` different flips, all of them count. Otherwise `draws`
    random flips and the measured mean count, so the p value is at least 1 / (draws + 1).

    Args:
        differences: float [N], one a picture.
        draws: number of sign flips.
        seed: seed of the random flips.

    Returns:
        A float in 0..1.

    Raises:
        ValueError: no differences, more than one axis, or values that are not finite.

    Example:
        >>> sign_flip_p_value([1.0, -1.0])
        1.0
    """
    from scipy.stats import permutation_test

    values = np.asarray(differences, float)
    if values.ndim != 1 or not values.size or not np.isfinite(values).all():
        raise ValueError(
            f"differences must be finite numbers [N], got shape {values.shape}: give one per picture."
        )
    tested = permutation_test(
        (values,),
        lambda flipped, axis: np.abs(flipped.mean(axis=axis)),
        permutation_type="samples",
        vectorized=True,
        n_resamples=draws,
        batch=64,
        alternative="greater",
        rng=seed,
    )
    return float(tested.pvalue)
