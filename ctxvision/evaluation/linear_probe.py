"""Multinomial logistic regression, the usual probe of what frozen features hold."""

import numpy as np
import tensorflow as tf

ITERATIONS = 300


class LinearProbe:
    """A linear classifier over standardised features, fitted to the end: it has one solution, and no seed.

    Minimises the mean cross-entropy + l2/2 · ‖W‖² by accelerated full-batch gradient descent (Nesterov, with
    restarts), whose step follows from the largest eigenvalue of the features' second moments.

    Args:
        features: float [N, D], standardised by their own mean and deviation.
        labels: int [N] in 0..L-1.
        num_labels: L.
        l2: of the weights, above 0; the bias is free.

    Example:
        >>> probe = LinearProbe(np.array([[0.0], [1.0]]), np.array([0, 1]), 2, l2=0.1)
        >>> probe.probabilities(np.array([[0.9]])).argmax()
        1
    """

    def __init__(self, features: np.ndarray, labels: np.ndarray, num_labels: int, l2: float):
        self.mean = features.mean(axis=0)
        self.deviation = np.maximum(features.std(axis=0), 1e-6)
        rows = tf.constant(self._rows(features))
        targets = tf.one_hot(labels, num_labels)
        penalty = np.full([rows.shape[1], 1], l2, np.float32)
        penalty[-1] = 0.0
        self.weights: np.ndarray = _minimise(rows, targets, tf.constant(penalty)).numpy()

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """float32 [N, L] of features [N, D]."""
        return tf.nn.softmax(self._rows(features) @ self.weights).numpy()

    def _rows(self, features: np.ndarray) -> np.ndarray:
        """float32 [N, D+1]: the bias has a column of ones."""
        scaled = ((features - self.mean) / self.deviation).astype(np.float32)
        return np.concatenate([scaled, np.ones([len(scaled), 1], np.float32)], axis=1)


@tf.function(reduce_retracing=True)
def _minimise(rows: tf.Tensor, targets: tf.Tensor, penalty: tf.Tensor) -> tf.Tensor:
    """float32 [D+1, L]."""
    count = tf.cast(tf.shape(rows)[0], tf.float32)
    moments = tf.matmul(rows, rows, transpose_a=True) / count
    # The softmax's curvature is at most 1/2.
    step = 1.0 / (0.5 * tf.linalg.eigvalsh(moments)[-1] + tf.reduce_max(penalty))
    weights = tf.zeros([tf.shape(rows)[1], tf.shape(targets)[1]])
    ahead, pace = weights, 1.0
    for _ in tf.range(ITERATIONS):
        error = tf.nn.softmax(rows @ ahead) - targets
        gradient = tf.matmul(rows, error, transpose_a=True) / count + penalty * ahead
        moved = ahead - step * gradient
        if tf.reduce_sum(gradient * (moved - weights)) > 0.0:  # it overshoots: momentum starts anew
            pace = 1.0
        faster = (1.0 + tf.sqrt(1.0 + 4.0 * pace * pace)) / 2.0
        ahead = moved + (pace - 1.0) / faster * (moved - weights)
        weights, pace = moved, faster
    return weights
