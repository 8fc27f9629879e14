"""How likely a difference is by chance alone."""

import numpy as np
from numpy.typing import ArrayLike

_DRAWS_AT_A_TIME = 64


def sign_flip_p_value(differences: ArrayLike, draws: int = 10000, seed: int = 0) -> float:
    """Two-sided p value of paired differences whose mean would be 0 by chance.

    A difference without a cause is as likely to be of the other sign: signs are drawn anew many times, and the
    p value is the share of draws whose mean is at least as far from 0 as the measured one, which counts as one more
    draw; it is never below 1 / (draws + 1).

    Args:
        differences: float [N], one a picture.
        draws: how many.
        seed: of the draws.

    Raises:
        ValueError: no differences, more than one axis, or values that are not finite.

    Example:
        >>> sign_flip_p_value([1.0, -1.0])
        1.0
    """
    values = np.asarray(differences, float)
    if values.ndim != 1 or not values.size or not np.isfinite(values).all():
        raise ValueError(
            f"differences must be finite numbers [N], got shape {values.shape}: give one per picture."
        )
    rng = np.random.default_rng(seed)
    measured = abs(values.sum()) * (1 - 1e-9)  # sums of equal numbers in another order are equal
    as_far = 0
    for start in range(0, draws, _DRAWS_AT_A_TIME):
        signs = rng.integers(0, 2, [min(_DRAWS_AT_A_TIME, draws - start), len(values)], np.int8) * 2 - 1
        as_far += int(np.count_nonzero(np.abs(signs @ values) >= measured))
    return (as_far + 1) / (draws + 1)
