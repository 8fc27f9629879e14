"""Whether probabilities are what they say."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ctxvision.metrics._checks import known_decisions

BINS = 15
_DRAWS = 200


class Reliability(NamedTuple):
    """Bins of equal width in 0..1, each float64 [bins]; all 0 where a bin is empty.

    `confidence` is the mean probability, `accuracy` the share that came true, `share` how much of all fell there.
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    share: np.ndarray


def reliability_bins(confidence: ArrayLike, correct: ArrayLike, bins: int = BINS) -> Reliability:
    """Mean confidence and accuracy by confidence.

    Args:
        confidence: float in 0..1, any shape: the top label's probability, or every label's of a multi-label model.
        correct: zeros and ones (or bool) of that shape: whether it came true; -1 is unknown and does not count.
        bins: how many.

    Raises:
        ValueError: shapes that differ, nothing at all, confidences outside 0..1, or `correct` not of zeros and ones.

    Example:
        >>> reliability_bins([0.1, 0.9, 0.9], [0, 1, 0], bins=2).accuracy.tolist()
        [0.0, 0.5]
    """
    confidence, correct = known_decisions(confidence, correct)
    if confidence.min() < 0 or confidence.max() > 1:
        raise ValueError(
            f"confidence must lie in 0..1, got {confidence.min()}..{confidence.max()}: give probabilities, not logits."
        )
    numbers = np.minimum((confidence * bins).astype(int), bins - 1)
    counts = np.bincount(numbers, minlength=bins)
    confidences, accuracies = (
        np.bincount(numbers, values, bins) / np.maximum(counts, 1) for values in (confidence, correct)
    )
    return Reliability(confidences, accuracies, counts / len(numbers))


def expected_calibration_error(confidence: ArrayLike, correct: ArrayLike, bins: int = BINS) -> float:
    """The mean distance of accuracy from confidence over `reliability_bins`, weighted by share (Guo et al. 2017).

    Args and Raises: as of `reliability_bins`.

    Example:
        >>> expected_calibration_error([0.75] * 4, [1, 1, 1, 0])
        0.0
    """
    found = reliability_bins(confidence, correct, bins)
    return float((found.share * np.abs(found.accuracy - found.confidence)).sum())


def calibration_error_by_chance(confidence: ArrayLike, bins: int = BINS, seed: int = 0) -> float:
    """The mean `expected_calibration_error` of a perfect forecaster: what this many pictures show by chance alone.

    Outcomes are drawn with the given probabilities, 200 times. An error of that size says nothing against a model
    (Bröcker & Smith 2007, consistency resampling).

    Args:
        confidence: as of `reliability_bins`.
        bins: how many.
        seed: of the draws.
    """
    confidence = np.asarray(confidence, float).ravel()
    rng = np.random.default_rng(seed)
    draws = (rng.random(len(confidence)) < confidence for _ in range(_DRAWS))
    return float(np.mean([expected_calibration_error(confidence, drawn, bins) for drawn in draws]))
