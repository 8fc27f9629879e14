"""Calibration of probabilities."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ctxvision.metrics._checks import known_decisions

BINS = 15
_DRAWS = 200


class Reliability(NamedTuple):
    """Statistics of bins of equal width in 0..1, float64 [bins] each; an empty bin has 0 in all three.

    Attributes:
        confidence: the mean probability.
        accuracy: the share of decisions that are true.
        share: share of all decisions that fall into the bin.
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    share: np.ndarray


def reliability_bins(confidence: ArrayLike, correct: ArrayLike, bins: int = BINS) -> Reliability:
    """Computes mean confidence and accuracy in bins of confidence.

    Args:
        confidence: float in 0..1, any shape: the probability of the top label, or of every label of a multi-label
            model.
        correct: zeros and ones (or bool) of the same shape: whether the decision is true; -1 is unknown and does not
            count.
        bins: number of bins.

    Raises:
        ValueError: shapes differ, there are no decisions, confidences lie outside 0..1, or `correct` holds other
            values than 0, 1 and -1.

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
    """Computes the mean distance between accuracy and confidence of the bins, weighted by share (Guo et al. 2017).

    See `reliability_bins` for the arguments and errors.

    Example:
        >>> expected_calibration_error([0.75] * 4, [1, 1, 1, 0])
        0.0
    """
    found = reliability_bins(confidence, correct, bins)
    return float((found.share * np.abs(found.accuracy - found.confidence)).sum())


def calibration_error_by_chance(confidence: ArrayLike, bins: int = BINS, seed: int = 0) -> float:
    """Computes the mean `expected_calibration_error` of a perfectly calibrated model on as many pictures.

    Draws outcomes with the given probabilities, 200 times (consistency resampling, Bröcker & Smith 2007). An error of
    this size is no evidence against a model.

    Args:
        confidence: see `reliability_bins`.
        bins: number of bins.
        seed: seed of the draws.
    """
    confidence = np.asarray(confidence, float).ravel()
    rng = np.random.default_rng(seed)
    draws = (rng.random(len(confidence)) < confidence for _ in range(_DRAWS))
    return float(np.mean([expected_calibration_error(confidence, drawn, bins) for drawn in draws]))
