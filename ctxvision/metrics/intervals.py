"""Confidence intervals of paired differences."""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

_DRAWS_AT_A_TIME = 64
# Draws of up to this many counts are cached: the methods of a table are compared on the same pictures.
_MOST_KEPT = 1 << 24


class Interval(NamedTuple):
    """A mean and the ends of its confidence interval, in the unit of the values."""

    mean: float
    low: float
    high: float


def paired_interval(
    differences: ArrayLike, confidence: float = 0.95, draws: int = 2000, seed: int = 0
) -> Interval:
    """Computes the mean of paired differences, with a percentile bootstrap interval over seeds and pictures.

    Each draw samples S seeds and N pictures with replacement, and uses the same pictures for every seed. So the
    interval covers the variation of training and of the test set.

    Args:
        differences: float [S, N], seeds by pictures, such as the right answers of one method minus those of another.
        confidence: share of the draws inside the interval, 0..1.
        draws: number of draws.
        seed: seed of the draws.

    Raises:
        ValueError: there are no seeds or no pictures, or a value is not finite.

    Example:
        >>> right, base = np.ones([3, 200]), np.zeros([3, 200])
        >>> paired_interval(right - base)
        Interval(mean=1.0, low=1.0, high=1.0)
    """
    values = np.asarray(differences, np.float32)
    if values.ndim != 2 or 0 in values.shape or not np.isfinite(values).all():
        raise ValueError(
            f"differences must be finite numbers [seeds, pictures], got shape {values.shape}: give one row per seed."
        )
    seeds, pictures = values.shape
    make = _kept_draws if draws * pictures <= _MOST_KEPT else _draws
    means = []
    for times, of_seeds in make(seed, draws, seeds, pictures):
        by_seed = times.astype(np.float32) @ values.T / pictures
        means.append(np.take_along_axis(by_seed, of_seeds, axis=1).mean(axis=1))
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return Interval(float(values.mean(dtype=float)), float(low), float(high))


def _draws(seed: int, draws: int, seeds: int, pictures: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields blocks of n draws: the count of each picture, uint16 [n, pictures], and the seeds, int [n, seeds]."""
    rng = np.random.default_rng(seed)
    for start in range(0, draws, _DRAWS_AT_A_TIME):
        number = min(_DRAWS_AT_A_TIME, draws - start)
        times = rng.multinomial(pictures, np.full(pictures, 1 / pictures), number).astype(np.uint16)
        yield times, rng.integers(0, seeds, [number, seeds])


@functools.lru_cache(maxsize=4)
def _kept_draws(
    seed: int, draws: int, seeds: int, pictures: int
) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    return tuple(_draws(seed, draws, seeds, pictures))
