"""Average precision of the pictures of each label (section 4.2.3)."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from ctxvision.metrics._checks import check_decisions
from ctxvision.metrics.intervals import Interval


def average_precision(scores: ArrayLike, targets: ArrayLike, weights: ArrayLike | None = None) -> np.ndarray:
    """Computes the area under each label's precision-recall curve: the mean of the precision at each positive.

    Pictures with equal scores are accepted together, so a constant score has the precision of chance.

    Args:
        scores: float [N, L], rank the pictures of a label; any scale, no NaN.
        targets: [N, L] of zeros and ones (or bool); -1 is unknown and does not count.
        weights: the number of times each picture counts, [N], or [D, N] for D results; 1 by default.

    Returns:
        float64 [L] in 0..1, or [D, L]; NaN for a label without positives.

    Raises:
        ValueError: shapes differ, there are no rows, scores hold NaN, or targets are not 0, 1 or -1.

    Example:
        >>> average_precision([[0.9], [0.8], [0.1]], [[1], [0], [1]]).round(3).tolist()
        [0.833]
    """
    scores, targets = check_decisions(scores, targets, dimensions=2, unknown=True)
    times = np.ones(len(scores), np.float32) if weights is None else np.asarray(weights, np.float32)
    if times.ndim not in (1, 2) or times.shape[-1] != len(scores):
        raise ValueError(
            f"weights must be [N] or [D, N] with N = {len(scores)}, got shape {times.shape}: give one weight per picture."
        )
    found = [_one_label(score, target, np.atleast_2d(times)) for score, target in zip(scores.T, targets.T)]
    return np.stack(found, axis=1).reshape(*times.shape[:-1], -1)


def mean_average_precision(scores: ArrayLike, targets: ArrayLike) -> float:
    """Computes the mean of `average_precision` over the labels that have positives.

    Raises:
        ValueError: see `average_precision`; or no label has a positive.
    """
    found = average_precision(scores, targets)
    if np.isnan(found).all():
        raise ValueError("targets must hold at least one positive, got none: mark a picture's labels with 1.")
    return float(np.nanmean(found))


def map_draws(scores: ArrayLike, targets: ArrayLike, draws: int = 300, seed: int = 0) -> np.ndarray:
    """Computes the mAP of bootstrap samples of the pictures, float64 [D].

    The samples depend only on N, `draws` and `seed`, so the draws of two methods are paired. D is `draws`, less the
    samples without a positive.
    """
    number = len(np.asarray(scores))
    times = np.random.default_rng(seed).multinomial(number, np.full(number, 1 / number), draws)
    found = average_precision(scores, targets, times)
    return np.nanmean(found[np.isfinite(found).any(axis=1)], axis=1)


def interval_of_draws(
    values: Sequence[float], draws: ArrayLike, confidence: float = 0.95, seed: int = 0
) -> Interval:
    """Computes the mean over S seeds, with a bootstrap interval over seeds and pictures.

    A picture that is drawn twice ranks beside itself, so drawn average precisions are biased upwards. The interval
    keeps the spread of the draws and is shifted to the mean of the values.

    Args:
        values: float [S], such as differences of mAP.
        draws: float [S, D], the same quantity for D bootstrap samples of the pictures.
        confidence: share of the draws inside the interval, 0..1.
        seed: seed of the draw of seeds.
    """
    drawn = np.asarray(draws, float)
    seeds, number = drawn.shape
    chosen = np.random.default_rng(seed).integers(0, seeds, [seeds, number])
    means = np.take_along_axis(drawn, chosen, axis=0).mean(axis=0)
    tail, mean = (1 - confidence) / 2, float(np.mean(values))
    low, high = np.quantile(means - means.mean() + mean, [tail, 1 - tail])
    return Interval(mean, float(low), float(high))


def _one_label(scores: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Computes the average precision of one label, float64 [D]; only the positives need cumulative sums."""
    known = targets >= 0
    if not known.all():
        scores, targets, weights = scores[known], targets[known], weights[:, known]
    order = np.argsort(-scores, kind="stable")
    positive = np.flatnonzero(targets[order])
    if not len(positive):
        return np.full(len(weights), np.nan)
    ranked = -scores[order]
    last = np.searchsorted(ranked, ranked[positive], side="right") - 1  # of the pictures with the same score
    accepted = weights[:, order].cumsum(axis=1, dtype=np.float32)[:, last]
    own = weights[:, order[positive]]
    found = own.cumsum(axis=1)[:, np.searchsorted(positive, last, side="right") - 1]
    precision = np.divide(found, accepted, out=np.zeros_like(found), where=accepted > 0)
    total = own.sum(axis=1, dtype=float)
    return np.divide((own * precision).sum(axis=1), total, out=np.full(len(own), np.nan), where=total > 0)
