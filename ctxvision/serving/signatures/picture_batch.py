"""Blanks the answers of damaged pictures in a batch."""

from collections.abc import Callable
from typing import TypeAlias

import tensorflow as tf

from ctxvision.models.phrase_context import FoundContext

# Function from pixels [B, H, W, 3] to query embeddings and visual features, see `Towers.both`.
Embed: TypeAlias = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
# Function from query embeddings to phrases and context vectors.
Find: TypeAlias = Callable[[tf.Tensor], FoundContext]


def blank_invalid(outputs: dict[str, tf.Tensor], valid: tf.Tensor) -> dict[str, tf.Tensor]:
    """Adds `valid`, false also for answers that are not finite, and blanks the rows that are not valid."""
    for value in outputs.values():
        if value.dtype.is_floating:
            finite = tf.reshape(
                tf.math.is_finite(value), [tf.size(valid), tf.reduce_prod(tf.shape(value)[1:])]
            )
            valid &= tf.reduce_all(finite, axis=1)

    def blank(value: tf.Tensor) -> tf.Tensor:
        keep = tf.reshape(
            valid, tf.concat([tf.shape(valid), tf.ones([value.shape.rank - 1], tf.int32)], axis=0)
        )
        return tf.where(keep, value, "" if value.dtype == tf.string else tf.zeros([], value.dtype))

    return {**{name: blank(value) for name, value in outputs.items()}, "valid": valid}
