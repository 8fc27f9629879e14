"""Multinomial logistic regression, the usual probe of frozen features."""

import numpy as np

ITERATIONS = 300


class LinearProbe:
    """A linear classifier over standardised features, fitted to convergence; it has one solution and no seed.

    Minimises the mean cross-entropy + l2/2 · ‖W‖² by L-BFGS (`scipy.optimize.minimize`).

    Args:
        features: float [N, D], standardised by their own mean and deviation.
        labels: int [N] in 0..L-1.
        num_labels: L.
        l2: of the weights, above 0; the bias is not regularised.

    Attributes:
        weights: float32 [D+1, L]; the last row is the bias.

    Example:
        >>> probe = LinearProbe(np.array([[0.0], [1.0]]), np.array([0, 1]), 2, l2=0.1)
        >>> probe.probabilities(np.array([[0.9]])).argmax()
        1
    """

    def __init__(self, features: np.ndarray, labels: np.ndarray, num_labels: int, l2: float):
        from scipy.optimize import minimize
        from scipy.special import log_softmax

        self.mean = features.mean(axis=0)
        self.deviation = np.maximum(features.std(axis=0), 1e-6)
        rows = self._rows(features)
        targets = np.eye(num_labels, dtype=np.float32)[labels]
        penalty = np.full([rows.shape[1], 1], l2, np.float32)
        penalty[-1] = 0.0

        def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
            weights = flat.reshape(rows.shape[1], num_labels).astype(np.float32)
            logs = log_softmax(rows @ weights, axis=1)
            loss = -logs[targets > 0].mean(dtype=float) + (penalty * weights**2).sum(dtype=float) / 2
            gradient = rows.T @ (np.exp(logs) - targets) / len(rows) + penalty * weights
            return loss, gradient.ravel().astype(float)

        found = minimize(
            objective,
            np.zeros(rows.shape[1] * num_labels),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": ITERATIONS, "gtol": 1e-5, "ftol": 0.0},
        )
        self.weights: np.ndarray = found.x.reshape(rows.shape[1], num_labels).astype(np.float32)

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Probabilities, float32 [N, L], of features [N, D]."""
        from scipy.special import softmax

        return softmax(self._rows(features) @ self.weights, axis=1)

    def _rows(self, features: np.ndarray) -> np.ndarray:
        """Standardised features and a column of ones for the bias, float32 [N, D+1]."""
        scaled = ((features - self.mean) / self.deviation).astype(np.float32)
        return np.concatenate([scaled, np.ones([len(scaled), 1], np.float32)], axis=1)
