"""Temperature scaling: softmax probabilities that are as sure as they are right (Guo et al. 2017)."""

import numpy as np

from ctxvision.layers import ContextFusion

_SMALLEST, _LARGEST = 0.01, 100.0
_HALVINGS = 50


def fit_temperature(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The T for which softmax(logits / T) has the least cross-entropy; above 1 where the head is too sure.

    Args:
        probabilities: float [N, L], rows sum to 1, of pictures that the head was not trained on.
        labels: int [N], their true labels.

    Returns:
        In 0.01..100; 1.0 for no pictures.
    """
    if not len(labels):
        return 1.0
    logits = _logits(probabilities)
    true = logits[np.arange(len(labels)), labels].mean()
    low, high = np.log(1 / _LARGEST), np.log(1 / _SMALLEST)
    # Cross-entropy is convex in 1/T; its slope is the mean expected logit minus the mean true one.
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        expected = (_softmax(logits * np.exp(middle)) * logits).sum(axis=1).mean()
        low, high = (low, middle) if expected > true else (middle, high)
    return float(np.exp(-(low + high) / 2))


def at_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """float64 [N, L]: the probabilities of softmax(logits / temperature)."""
    return _softmax(_logits(probabilities) / temperature)


def fold_temperature(fusion: ContextFusion, temperature: float) -> None:
    """Divides the last layer's kernel and bias by the temperature, so that nothing else has to know of it."""
    stage = fusion.output_stage
    stage.set_weights([weight / temperature for weight in stage.get_weights()])


def _logits(probabilities: np.ndarray) -> np.ndarray:
    """Up to a constant in each row, which softmax does not see."""
    return np.log(np.maximum(np.asarray(probabilities, float), 1e-38))


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
