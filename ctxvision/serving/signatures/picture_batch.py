"""Decodes encoded pictures to one batch of pixels; some of them may be damaged."""

import functools
from collections.abc import Callable
from typing import Any, TypeAlias

import tensorflow as tf

from ctxvision.data.pictures import picture_decoder
from ctxvision.models.phrase_context import FoundContext

# Function from pixels [B, H, W, 3] of any number of pictures to query embeddings and visual features.
Embed: TypeAlias = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
# Function from query embeddings to phrases and context vectors.
Find: TypeAlias = Callable[[tf.Tensor], FoundContext]
# Pictures decoded at once; the largest allowed picture takes some 400 MB.
_DECODERS = 4


def decode_pictures(image_bytes: tf.Tensor, image_size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes a batch in which some pictures may be damaged, with core ops alone.

    Args:
        image_bytes: string [B], contents of files; B may be 0.
        image_size: side S of the square to which pictures are resized.

    Returns:
        uint8 [B, S, S, 3], zeros for a damaged picture, and bool [B], true for a picture that was decoded.
    """
    return _batch_decoder(image_size)(image_bytes)


@functools.lru_cache
def _batch_decoder(image_size: int) -> Any:
    """Builds a `tf.function` of `decode_pictures` for one size, which all signatures share."""
    return tf.function(
        functools.partial(_decoded, image_size=image_size),
        input_signature=[tf.TensorSpec([None], tf.string)],
        autograph=False,
    )


def _decoded(image_bytes: tf.Tensor, image_size: int) -> tuple[tf.Tensor, tf.Tensor]:
    batch = tf.size(image_bytes)
    shape = [image_size, image_size, 3]
    decoder = picture_decoder(image_size)

    def decode(row: tf.Tensor, encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return row, decoder(encoded)

    # tf.data alone survives a failed decode with core ops. It drops the row, so each row carries its number.
    numbered = tf.data.Dataset.from_tensor_slices((tf.range(tf.cast(batch, tf.int64)), image_bytes))
    decoded = numbered.map(decode, num_parallel_calls=_DECODERS, deterministic=True).ignore_errors()
    none = tf.data.Dataset.from_tensors((tf.zeros([0], tf.int64), tf.zeros([0, *shape], tf.uint8)))
    together = decoded.batch(tf.cast(tf.maximum(batch, 1), tf.int64)).concatenate(none).take(1)
    rows, pictures = together.get_single_element()
    rows = rows[:, tf.newaxis]
    pixels = tf.scatter_nd(rows, pictures, tf.cast([batch, *shape], tf.int64))
    counts = tf.scatter_nd(rows, tf.ones_like(rows[:, 0]), tf.cast([batch], tf.int64))
    return tf.ensure_shape(pixels, [None, *shape]), counts > 0


def embed_pictures(embed: Callable[[tf.Tensor], Any], pixels: tf.Tensor) -> Any:
    """Runs `embed` on any number of pictures [B, H, W, 3], including none.

    An empty batch runs on one black picture, whose row is dropped, because the convolutions of oneDNN refuse an empty
    batch on some processors.
    """
    batch, shape = tf.shape(pixels)[0], tf.shape(pixels)[1:]
    black = tf.zeros(tf.concat([[1], shape], axis=0), pixels.dtype)
    some = tf.cond(batch > 0, lambda: pixels, lambda: black)
    return tf.nest.map_structure(lambda rows: rows[:batch], embed(tf.ensure_shape(some, pixels.shape)))


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
