"""Multinomial logistic regression, the usual probe of frozen features."""

import numpy as np
import tensorflow as tf


class LinearProbe:
    """A linear classifier over standardised features, fitted to convergence; it has one solution and no seed.

    Minimises the mean cross-entropy + l2/2 · ‖W‖² by L-BFGS (`scipy.optimize.minimize`).

    Args:
        features: float [N, D], standardised by their own mean and deviation.
        labels: int [N] in 0..L-1.
        num_labels: L.
        l2: strength of the L2 penalty of the weights, above 0; the bias is not regularised.

    Attributes:
        weights: float64 [D+1, L]; the last row is the bias.

    Example:
        >>> probe = LinearProbe(np.array([[0.0], [1.0]]), np.array([0, 1]), 2, l2=0.1)
        >>> int(probe.probabilities(np.array([[0.9]])).argmax())
        1
    """

    def __init__(self, features: np.ndarray, labels: np.ndarray, num_labels: int, l2: float):
        from scipy.optimize import minimize

        self.mean = features.mean(axis=0)
        self.deviation = np.maximum(features.std(axis=0), 1e-6)
        rows, targets = tf.constant(self._rows(features)), tf.one_hot(labels, num_labels, dtype=tf.float64)
        penalty = np.full([rows.shape[1], 1], l2)
        penalty[-1] = 0.0
        shape = (rows.shape[1], num_labels)

        def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
            loss, gradient = _loss_and_gradient(tf.constant(flat.reshape(shape)), rows, targets, penalty)
            return float(loss), gradient.numpy().ravel()

        found = minimize(
            objective, np.zeros(shape).ravel(), jac=True, method="L-BFGS-B", options={"gtol": 1e-5}
        )
        self.weights: np.ndarray = found.x.reshape(shape)

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Returns the probabilities float64 [N, L] of features [N, D]."""
        return tf.nn.softmax(self._rows(features) @ self.weights).numpy()

    def _rows(self, features: np.ndarray) -> np.ndarray:
        """Returns the standardised features and a column of ones for the bias, float64 [N, D+1]."""
        scaled = (features - self.mean) / self.deviation
        return np.concatenate([scaled, np.ones([len(scaled), 1])], axis=1)


@tf.function(reduce_retracing=True)
def _loss_and_gradient(
    weights: tf.Tensor, rows: tf.Tensor, targets: tf.Tensor, penalty: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    logits = rows @ weights
    loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(targets, logits))
    error = (tf.nn.softmax(logits) - targets) / tf.cast(tf.shape(rows)[0], tf.float64)
    gradient = tf.matmul(rows, error, transpose_a=True) + penalty * weights
    return loss + tf.reduce_sum(penalty * weights**2) / 2.0, gradient
