"""Binary cross-entropy with weights for the positives of each label."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from ctxvision.losses.known_labels import mean_of_known


@keras.saving.register_keras_serializable("ctxvision")
class WeightedCrossEntropy(keras.losses.Loss):
    """The mean over labels of -w y log p - (1 - y) log(1 - p).

    At its minimum the logit of p exceeds the logit of the true probability by log w. Subtract log w to calibrate.

    Args:
        positive_weights: w, float [L], above 0; larger for rare labels.

    Call arguments:
        y_true: float [B, L] of zeros and ones; -1 is unknown and does not count.
        y_pred: float32 [B, L] probabilities.

    Example:
        >>> float(WeightedCrossEntropy([3.0])([[1.0]], [[0.5]])) / float(tf.math.log(2.0))
        3.0
    """

    def __init__(
        self, positive_weights: Sequence[float], name: str = "weighted_cross_entropy", **kwargs: Any
    ):
        super().__init__(name=name, **kwargs)
        self.positive_weights = [float(weight) for weight in positive_weights]
        if not self.positive_weights or min(self.positive_weights) <= 0:
            raise ValueError(
                f"positive_weights must be numbers above 0, one for each label, got {positive_weights}: 1 "
                "leaves a label unweighted."
            )

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        truth = tf.cast(y_true, tf.float32)
        p = tf.clip_by_value(tf.cast(y_pred, tf.float32), 1e-7, 1 - 1e-7)
        positive = tf.constant(self.positive_weights) * truth * tf.math.log(p)
        return mean_of_known(-positive - (1 - truth) * tf.math.log1p(-p), truth)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "positive_weights": self.positive_weights}
