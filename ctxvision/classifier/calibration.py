"""Softmax probabilities that are as sure as they are right."""

from typing import NamedTuple

import numpy as np

from ctxvision.layers import ContextFusion

_SMALLEST, _LARGEST = 0.01, 100.0  # temperatures
_LARGEST_SHARE = 0.5
_STEPS = 47  # between the temperatures, of a factor 1.2
_NARROWINGS, _HALVINGS = 20, 30
_GOLDEN = (5**0.5 - 1) / 2


class Calibration(NamedTuple):
    """Calibrated probabilities are (1 - uniform_share) · softmax(logits / temperature) + uniform_share / L.

    Attributes:
        temperature: above 1 where the head is too sure (Guo et al. 2017).
        uniform_share: in 0..0.5, of pictures on which nothing that the head knows can be relied upon.
    """

    temperature: float = 1.0
    uniform_share: float = 0.0


def fit_calibration(probabilities: np.ndarray, labels: np.ndarray) -> Calibration:
    """That under which the true labels are likeliest.

    Temperature and uniform part are two of the three parts of ensemble temperature scaling (Zhang et al. 2020, Mix-n-Match).
    A temperature alone has to be so high that the few pictures on which a head is sure and wrong, such as those with a
    wrong label, become likely, and then doubts all others too much.

    Args:
        probabilities: float [N, L], rows sum to 1, of pictures that the head was not trained on.
        labels: int [N], their true labels.

    Returns:
        Temperature in 0.01..100 and share; 1 and 0 for no pictures.
    """
    if not len(labels):
        return Calibration()
    logits = _logits(probabilities)
    logits -= logits[np.arange(len(labels)), labels][:, np.newaxis]  # the true one is 0

    def likelihood(log_temperature: float) -> tuple[float, float]:
        """The mean of the true labels' log probabilities, and the share that makes it largest."""
        with np.errstate(over="ignore"):
            true = np.maximum(1 / np.exp(logits * np.exp(-log_temperature)).sum(axis=1), 1e-38)
        share = _likeliest_share(true, logits.shape[1])
        return float(np.log((1 - share) * true + share / logits.shape[1]).mean()), share

    grid = np.linspace(np.log(_SMALLEST), np.log(_LARGEST), _STEPS + 1)
    best = int(np.argmax([likelihood(at)[0] for at in grid]))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, _STEPS)]
    for _ in range(_NARROWINGS):
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        low, high = (left, high) if likelihood(left)[0] < likelihood(right)[0] else (low, right)
    found = (low + high) / 2
    return Calibration(float(np.exp(found)), likelihood(found)[1])


def calibrated(probabilities: np.ndarray, calibration: Calibration) -> np.ndarray:
    """float64 [N, L]; the order of a row's labels stays."""
    share = calibration.uniform_share
    softmax = _softmax(_logits(probabilities) / calibration.temperature)
    return (1 - share) * softmax + share / softmax.shape[1]


def fold_calibration(fusion: ContextFusion, calibration: Calibration) -> None:
    """Makes it a part of the head's weights, so that nothing else has to know of it."""
    stage = fusion.output_stage
    stage.set_weights([weight / calibration.temperature for weight in stage.get_weights()])
    fusion.uniform_share.assign(calibration.uniform_share)


def _likeliest_share(true: np.ndarray, num_labels: int) -> float:
    """The likelihood is concave in the share: where its slope is 0."""
    low, high, gain = 0.0, _LARGEST_SHARE, 1 / num_labels - true
    if gain @ (1 / true) <= 0:
        return 0.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        rising = (gain / (true + middle * gain)).sum() > 0
        low, high = (middle, high) if rising else (low, middle)
    return (low + high) / 2


def _logits(probabilities: np.ndarray) -> np.ndarray:
    """Up to a constant in each row, which softmax does not see."""
    return np.log(np.maximum(np.asarray(probabilities, float), 1e-38))


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
