"""A loss over verified labels."""

from typing import Any

import tensorflow as tf
import tf_keras as keras


@keras.saving.register_keras_serializable("ctxvision")
class KnownLabels(keras.losses.Loss):
    """Applies a binary loss to the known labels; unknown labels have no gradient.

    The mean over a batch is the mean over all of its known labels, so each known label weighs the same.

    Args:
        loss: a Keras loss that averages over the last axis, such as `BinaryCrossentropy`.

    Call arguments:
        y_true: float [B, L] of zeros and ones; -1 is unknown.
        y_pred: float32 [B, L], predictions as `loss` expects them.

    Example:
        >>> loss = KnownLabels(keras.losses.BinaryCrossentropy())
        >>> round(float(loss([[1.0, -1.0]], [[0.5, 0.9]])), 3)  # log 2
        0.693
    """

    def __init__(self, loss: keras.losses.Loss, name: str = "known_labels", **kwargs: Any):
        super().__init__(name=name, **kwargs)
        self.loss = loss

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        truth = tf.cast(y_true, tf.float32)
        each = self.loss.call(
            tf.maximum(truth, 0.0)[..., tf.newaxis], tf.cast(y_pred, tf.float32)[..., tf.newaxis]
        )
        return mean_of_known(each, truth)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "loss": keras.losses.serialize(self.loss)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "KnownLabels":
        return cls(**{**config, "loss": keras.losses.deserialize(config["loss"])})


def mean_of_known(each: tf.Tensor, truth: tf.Tensor) -> tf.Tensor:
    """Reduces losses [B, L] to float32 [B], with the mean of the losses whose `truth` is not negative."""
    known = tf.cast(truth >= 0, tf.float32)
    number = tf.reduce_mean(tf.reduce_sum(known, axis=-1))
    return tf.math.divide_no_nan(tf.reduce_sum(each * known, axis=-1), number)
