"""Makes shuffled, augmented batches of decoded pictures."""

import operator
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from ctxvision.errors import InputError


def training_batches(
    pictures: np.ndarray,
    arrays: Any,
    batch_size: int,
    seed: int,
    epoch: int,
    augment: bool = True,
    flip: bool = True,
    rows: np.ndarray | None = None,
) -> tf.data.Dataset:
    """Makes one epoch of shuffled, augmented batches.

    The same (seed, epoch) always gives the same batches, so a resumed training sees the batches that it would have
    seen. Rows are gathered in NumPy: a memory-mapped array may be larger than memory, and no array is embedded in a
    graph. Augmentation draws for each picture a crop of 75 to 100% of the area that is resized back, a horizontal flip
    with probability 1/2, brightness ± 10% of the range and contrast ± 20%.

    Args:
        pictures: uint8 [N, S, S, 3].
        arrays: tuple or dict of numeric or string arrays, such as labels or weights, with one row per picture, or one
            per entry of `rows` if that is given.
        batch_size: B, pictures per batch; the last incomplete batch is dropped.
        seed: non-negative seed of the training.
        epoch: number of the epoch, from 0.
        augment: False only shuffles.
        flip: False turns horizontal flips off, for data where left and right matter.
        rows: int [N'], the rows of `pictures` to use, possibly with repeats; None uses all, N' = N. Indexing a
            memory-mapped `pictures` beforehand would read the selection into memory.

    Returns:
        A dataset of N' // B elements `(pixels, *arrays)`, or `(pixels, arrays)` if `arrays` is a dict; pixels are
        float32 [B, S, S, 3] in 0..255.

    Raises:
        InputError: N' is smaller than `batch_size`.
        ValueError: one of `arrays` does not have N' rows.

    Example:
        >>> batches = training_batches(pixels, (np.array([0, 1, 2, 3]),), batch_size=2, seed=0, epoch=0)
        >>> images, labels = next(iter(batches))
        >>> images.shape, labels.shape
        (TensorShape([2, 20, 20, 3]), TensorShape([2]))
    """
    number = len(pictures) if rows is None else len(rows)
    steps = number // batch_size
    if steps == 0:
        raise InputError(
            f"batch_size must not exceed the number of training pictures, got batch_size {batch_size} "
            f"with {number} pictures: lower it or give more pictures."
        )
    if isinstance(arrays, dict):
        arrays = {name: np.asarray(values) for name, values in arrays.items()}
    else:
        arrays = tuple(np.asarray(values) for values in arrays)
    for array in tf.nest.flatten(arrays):
        if len(array) != number:
            raise ValueError(
                f"each of arrays must have a row per picture, got {len(array)} rows for {number} "
                "pictures: select the same rows of both."
            )
    generator = np.random.default_rng((seed, epoch))
    order = generator.permutation(number)[: steps * batch_size].reshape(steps, batch_size)
    step_seeds = generator.integers(2**31, size=(steps, 2), dtype=np.int32)

    def gather() -> Iterator[Any]:
        for places, step_seed in zip(order, step_seeds, strict=True):
            chosen = pictures[places if rows is None else rows[places]]
            yield step_seed, chosen, tf.nest.map_structure(operator.itemgetter(places), arrays)

    def finish(step_seed: tf.Tensor, pixels: tf.Tensor, values: Any) -> tuple:
        pixels = _augmented(pixels, step_seed, flip) if augment else tf.cast(pixels, tf.float32)
        return (pixels, values) if isinstance(values, dict) else (pixels, *values)

    def batch_of(array: np.ndarray) -> tf.TensorSpec:
        dtype = tf.string if array.dtype.kind in "OSU" else array.dtype
        return tf.TensorSpec((batch_size, *array.shape[1:]), dtype)

    signature = tf.TensorSpec([2], tf.int32), batch_of(pictures), tf.nest.map_structure(batch_of, arrays)
    batches = tf.data.Dataset.from_generator(gather, output_signature=signature)
    batches = batches.map(finish, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    batches = batches.apply(tf.data.experimental.assert_cardinality(steps)).prefetch(tf.data.AUTOTUNE)
    options = tf.data.Options()
    # `distributed` gives each replica its part. A strategy's own sharding would warn that it drops the cardinality.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return batches.with_options(options)


def _augmented(pixels: tf.Tensor, step_seed: tf.Tensor, flip: bool) -> tf.Tensor:
    """Augments a batch: uint8 [B, S, S, 3] to float32; all random numbers derive from `step_seed`."""
    batch_size, side = pixels.shape[0], pixels.shape[1]
    seeds = tf.unstack(tf.random.experimental.stateless_split(step_seed, 5))
    extent = tf.sqrt(tf.random.stateless_uniform([batch_size, 1], seeds[0], 0.75, 1.0))
    corner = tf.random.stateless_uniform([batch_size, 2], seeds[1]) * (1.0 - extent)
    top, left = tf.split(corner, 2, axis=1)
    right = left + extent
    if flip:
        # crop_and_resize mirrors a box whose left edge is right of its right edge, so the flip costs nothing.
        mirrored = tf.random.stateless_uniform([batch_size, 1], seeds[2]) < 0.5
        left, right = tf.where(mirrored, right, left), tf.where(mirrored, left, right)
    boxes = tf.concat([top, left, top + extent, right], axis=1)
    pixels = tf.image.crop_and_resize(pixels, boxes, tf.range(batch_size), [side, side])
    brightness = tf.random.stateless_uniform([batch_size, 1, 1, 1], seeds[3], -25.5, 25.5)
    contrast = tf.random.stateless_uniform([batch_size, 1, 1, 1], seeds[4], 0.8, 1.2)
    mean = tf.reduce_mean(pixels, axis=[1, 2, 3], keepdims=True)
    return tf.clip_by_value((pixels - mean) * contrast + (mean + brightness), 0.0, 255.0)
