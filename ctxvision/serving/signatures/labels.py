"""Holds label names and thresholds in the graph."""

import tensorflow as tf

from ctxvision.models.context_classifier import ContextClassifier


class Labels:
    """Maps label numbers to names, and compares their probabilities with their thresholds.

    Args:
        model: the model with the labels and thresholds.
    """

    def __init__(self, model: ContextClassifier):
        self._names = tf.Variable(model.labels, dtype=tf.string, trainable=False, name="labels")
        self._thresholds = None
        if model.thresholds is not None:
            thresholds = tf.Variable(model.thresholds, dtype=tf.float32, trainable=False, name="thresholds")
            self._thresholds = thresholds

    def named(self, scores: tf.Tensor, ids: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns `labels` string and `scores`, both [B, top], and `accepted` bool [B, top] if there are thresholds."""
        answer = {"labels": tf.gather(self._names, ids), "scores": scores}
        if self._thresholds is None:
            return answer
        return {**answer, "accepted": scores >= tf.gather(self._thresholds, ids)}
