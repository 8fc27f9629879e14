"""The trainable vectors of the queries, updated where they are touched."""

from typing import Any

import tensorflow as tf
import tf_keras as keras


@keras.saving.register_keras_serializable("ctxvision")
class ClassTable(keras.layers.Layer):
    """One weight vector per query class with row-wise Adagrad: a step costs O(rows touched), not O(classes).

    The optimizer's state is one number a row (its mean squared gradient, summed over steps). Rows named twice in
    a step are added up by sorting, in static shapes, so that the update compiles with XLA.

    Args:
        num_classes: V.
        dim: width of a row.
        stddev: of the initial weights. They are L2-normalised before use, so a small value means quick turns at
            the start: 0.05 learns far faster than 1.
        seed: of the initial weights.
    """

    def __init__(self, num_classes: int, dim: int = 64, stddev: float = 0.05, seed: int = 0, **kwargs: Any):
        # The rows learn through `update`, not through the model's optimizer.
        super().__init__(**{**kwargs, "trainable": False, "dtype": "float32"})
        self.num_classes = num_classes
        self.dim = dim
        self.stddev = stddev
        self.seed = seed
        initializer = keras.initializers.RandomNormal(stddev=stddev, seed=seed)
        self.table = self.add_weight(
            name="table", shape=(num_classes, dim), initializer=initializer, trainable=False
        )
        self.squares = self.add_weight(
            name="squares", shape=(num_classes,), initializer="zeros", trainable=False
        )

    def call(self, classes: tf.Tensor) -> tf.Tensor:
        """Raw rows [..., dim] of int32 classes [...]; a class below 0 (padding) gives row 0."""
        return tf.gather(self.table, tf.maximum(classes, 0))

    def update(self, classes: tf.Tensor, gradients: tf.Tensor, learning_rate: tf.Tensor) -> None:
        """Takes one Adagrad step for `gradients` [R, dim] of the rows `classes` int32 [R].

        Under a strategy the replicas must all be given the same: those of the global batch.
        """
        unique, summed = _sum_by_class(classes, gradients)
        squares = tf.gather(self.squares, unique) + tf.reduce_mean(tf.square(summed), axis=-1)
        step = learning_rate * summed * tf.math.rsqrt(squares + 1e-12)[:, tf.newaxis]
        # Rows beyond the last distinct class repeat class 0 with a zero step.
        # By handle, which is a replica's own copy: each replica makes the same change to its own.
        tf.raw_ops.ResourceScatterSub(resource=self.table.handle, indices=unique, updates=step)
        squared = tf.reduce_mean(tf.square(summed), axis=-1)
        tf.raw_ops.ResourceScatterAdd(resource=self.squares.handle, indices=unique, updates=squared)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "dim": self.dim,
            "stddev": self.stddev,
            "seed": self.seed,
        }


def _sum_by_class(classes: tf.Tensor, gradients: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Distinct classes [R] (the rest of the R places: class 0, zero gradient) and their summed gradients."""
    order = tf.argsort(classes, stable=True)
    ordered = tf.gather(classes, order)
    starts = tf.concat([[0], tf.cast(ordered[1:] != ordered[:-1], tf.int32)], axis=0)
    place, count = tf.cumsum(starts), tf.size(classes)
    summed = tf.math.unsorted_segment_sum(tf.gather(gradients, order), place, count)
    distinct = tf.maximum(tf.math.unsorted_segment_max(ordered, place, count), 0)
    return distinct, summed
