"""Labels scored by their own words: a member of `ContextFusion` that no labelled picture stands behind."""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras as keras


class TermPlaces(NamedTuple):
    """Where the terms of L labels lie; a label of fewer than n terms repeats its first one.

    Attributes:
        places: float32 [L, n, Q + T]: a term's place in query space beside its text embedding, each scaled by its share
            of the score.
        usual: float32 [L, n], the mean score of each term over the pictures of `train`.
        known: float32 [L], 1 for a label that has terms, else 0.
    """

    places: np.ndarray
    usual: np.ndarray
    known: np.ndarray


class LabelTerms(keras.layers.Layer):
    """The score of a label is that of its closest term (section 4.3).

    A term's score is the cosine of its place and the query embedding, mixed with the cosine of its text embedding and the
    context vector, less its mean over the pictures of `train`: a term that lies near every picture wins no more often
    than others. A label without terms gets the mean of the others' scores, which says nothing for or against it.

    Args:
        num_labels: L.
        terms: n, the most terms of a label.

    Call arguments:
        inputs: [context vectors [B, T], query embeddings [B, Q], L2-normalised].

    Returns:
        float32 [B, L] scores.
    """

    def __init__(self, num_labels: int, terms: int, **kwargs: Any):
        super().__init__(**{**kwargs, "dtype": "float32", "trainable": False})
        self.num_labels = num_labels
        self.terms = terms

    def build(self, input_shape: Any) -> None:
        width = sum(shape[-1] for shape in input_shape)
        self.places = self.add_weight("places", [self.num_labels, self.terms, width], initializer="zeros")
        self.usual = self.add_weight("usual", [self.num_labels, self.terms], initializer="zeros")
        self.known = self.add_weight("known", [self.num_labels], initializer="zeros")
        super().build(input_shape)

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        context, queries = inputs
        return self.closest(self.of_queries(queries) + self.of_contexts(context))

    def of_queries(self, queries: tf.Tensor) -> tf.Tensor:
        """Float32 [B, L, n]: the part of each term's score that is in query space."""
        queries = tf.cast(queries, tf.float32)
        return tf.einsum("bd,lnd->bln", queries, self.places[:, :, : queries.shape[-1]])

    def of_contexts(self, context: tf.Tensor) -> tf.Tensor:
        """Float32 [B, L, n]: the part that is in text space."""
        about = tf.math.l2_normalize(tf.cast(context, tf.float32), axis=1)
        return tf.einsum("bd,lnd->bln", about, self.places[:, :, -about.shape[-1] :])

    def closest(self, scores: tf.Tensor) -> tf.Tensor:
        """Float32 [..., L] of both parts' sum [..., L, n]."""
        closest = tf.reduce_max(scores - self.usual, axis=-1)
        average = tf.linalg.matvec(closest, self.known) / tf.maximum(tf.reduce_sum(self.known), 1.0)
        return tf.where(self.known > 0, closest, average[..., tf.newaxis])

    def assign(self, terms: TermPlaces) -> None:
        """Sets where the terms lie."""
        self.set_weights(list(terms))
