"""Scores labels by their own words, a member of `ContextFusion` that needs no labelled pictures."""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras as keras


class TermPlaces(NamedTuple):
    """Embeddings of the terms of L labels; a label with fewer than n terms repeats its first one.

    Attributes:
        places: float32 [L, n, Q + T], a term's embedding in query space and its text embedding, each scaled by its
            share of the score.
        usual: float32 [L, n], the mean score of each term over the pictures of `train`.
        known: float32 [L], 1 for a label with terms, 0 for a label without.
    """

    places: np.ndarray
    usual: np.ndarray
    known: np.ndarray


class LabelTerms(keras.layers.Layer):
    """Scores each label by its closest term (section 4.3).

    A term's score mixes two cosines: its query-space embedding with the query embedding, and its text embedding with
    the context vector. The mean over the pictures of `train` is subtracted, so that a term near every picture does not
    win more often than others. A label without terms gets the mean score of the labels with terms, which is neutral.

    Args:
        num_labels: L.
        terms: n, the largest number of terms of a label.

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
        """Computes the query-space part of each term's score, float32 [B, L, n]."""
        queries = tf.cast(queries, tf.float32)
        return tf.einsum("bd,lnd->bln", queries, self.places[:, :, : queries.shape[-1]])

    def of_contexts(self, context: tf.Tensor) -> tf.Tensor:
        """Computes the text-space part of each term's score, float32 [B, L, n]."""
        about = tf.math.l2_normalize(tf.cast(context, tf.float32), axis=1)
        return tf.einsum("bd,lnd->bln", about, self.places[:, :, -about.shape[-1] :])

    def closest(self, scores: tf.Tensor) -> tf.Tensor:
        """Reduces the sum of both parts, [..., L, n], to label scores float32 [..., L]."""
        closest = tf.reduce_max(scores - self.usual, axis=-1)
        average = tf.linalg.matvec(closest, self.known) / tf.maximum(tf.reduce_sum(self.known), 1.0)
        return tf.where(self.known > 0, closest, average[..., tf.newaxis])

    def assign(self, terms: TermPlaces) -> None:
        """Sets the embeddings of the terms."""
        self.set_weights(list(terms))
