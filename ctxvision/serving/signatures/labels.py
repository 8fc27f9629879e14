"""The names of labels in the graph."""

import tensorflow as tf

from ctxvision.models.context_classifier import ContextClassifier


class Labels:
    """Label numbers to names, and whether each passes its threshold.

    Args:
        model: whose labels and thresholds they are.
    """

    def __init__(self, model: ContextClassifier):
        self._names = tf.Variable(model.labels, dtype=tf.string, trainable=False, name="labels")
        self._thresholds = None
        if model.thresholds is not None:
            thresholds = tf.Variable(model.thresholds, dtype=tf.float32, trainable=False, name="thresholds")
            self._thresholds = thresholds

    def named(self, scores: tf.Tensor, ids: tf.Tensor) -> dict[str, tf.Tensor]:
        """`labels` string and `scores`, both [B, top]; where there are thresholds `accepted` bool [B, top] too."""
        answer = {"labels": tf.gather(self._names, ids), "scores": scores}
        if self._thresholds is None:
            return answer
        return {**answer, "accepted": scores >= tf.gather(self._thresholds, ids)}
