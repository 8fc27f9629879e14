"""Streams training batches from TFRecords, for data larger than a machine and for TPUs."""

from collections.abc import Sequence

import tensorflow as tf

from ctxvision.data.orientation import jpeg_exif, upright
from ctxvision.data.picture_header import checked_jpeg, starts_with
from ctxvision.data.pictures import picture_decoder
from ctxvision.data.records import record_files
from ctxvision.errors import InputError

_SMALLEST_AREA = 0.75  # of a crop, equal to `training_batches`
_SHARDS_AT_ONCE = 16


def record_batches(
    pattern: str,
    classes: Sequence[str],
    batch_size: int,
    image_size: int,
    feature: str = "label",
    most: int = 1,
    seed: int = 0,
    epochs: int | None = None,
    augment: bool = True,
    shuffle: int = 4096,
    host: int = 0,
    hosts: int = 1,
    service: str | None = None,
) -> tf.data.Dataset:
    """Reads, decodes, augments and batches records without holding them in memory.

    - Shards are read in a new order each epoch, several at once. Each host reads its own shards.
    - Strings become numbers in the input pipeline and never reach the device; shapes are static.
    - Only the cropped region of a JPEG is decoded.
    - Records whose picture does not decode are skipped. A damaged record ends its shard, and TensorFlow logs a warning.
      `ctxvision data check` counts both beforehand.

    Args:
        pattern: glob of the shards, local or `gs://`, as `tools/write_tfrecords.py` writes them.
        classes: C labels or queries; `ids` are positions in this list.
        batch_size: B, the batch size of this host; the last incomplete batch is dropped.
        image_size: side S of the pictures.
        feature: the record's feature that holds classes: "label" or "query".
        most: Q, the largest number of classes per picture; a picture with more keeps the first Q.
        seed: seed of the order and of the augmentation.
        epochs: passes over the records; None repeats for ever.
        augment: False gives whole pictures without augmentation.
        shuffle: size of the shuffle buffer, in records; 0 keeps the order of shards and records.
        host, hosts: the number of this host, in 0..hosts - 1, and the number of hosts. Each host needs a shard.
        service: address `grpc://HOST:PORT` of a tf.data service that does the work; None does it in this process.

    Returns:
        A dataset of `(pixels, ids)`: pixels float32 [B, S, S, 3] in 0..255; ids int32 [B], or [B, Q] padded with -1 if
        `most` is above 1. Pictures with none of the classes are left out.

    Raises:
        InputError: no shard matches, there are fewer shards than hosts, or a number is out of range.

    Example:
        >>> labels = ["red label", "green label", "blue label", "yellow label"]
        >>> batches = cv.record_batches("records/train-*", labels, batch_size=16, image_size=224)
        >>> pixels, ids = next(iter(batches))
        >>> pixels.shape, ids.shape
        (TensorShape([16, 224, 224, 3]), TensorShape([16]))
    """
    shards = record_files(pattern)
    if not 0 <= host < hosts or len(shards) < hosts:
        raise InputError(
            f"host must be in 0..hosts - 1 and hosts at most the number of shards, got host {host}, hosts {hosts} and "
            f"{len(shards)} shards: write more shards, or use fewer hosts."
        )
    if min(batch_size, image_size, most) < 1 or not len(classes):
        raise InputError(
            f"batch_size, image_size, most and the number of classes must be 1 or more, got {batch_size}, {image_size}, "
            f"{most} and {len(classes)}: raise those below 1."
        )
    numbers = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(list(classes), tf.range(len(classes), dtype=tf.int32)), -1
    )

    # The functions have no Python control flow, and converting them by autograph would take seconds.
    @tf.autograph.experimental.do_not_convert
    def parsed(record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        kinds = {"image": tf.io.FixedLenFeature([], tf.string), feature: tf.io.RaggedFeature(tf.string)}
        values = tf.io.parse_single_example(record, kinds)
        ids = numbers.lookup(values[feature])
        ids = tf.boolean_mask(ids, ids >= 0)[:most]
        return values["image"], tf.ensure_shape(
            tf.pad(ids, [[0, most - tf.size(ids)]], constant_values=-1), [most]
        )

    @tf.autograph.experimental.do_not_convert
    def decoded(index: tf.Tensor, image_ids: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        image, ids = image_ids
        pixels = (
            _augmented(image, image_size, tf.stack([tf.cast(seed, tf.int64), index])) if augment else None
        )
        if pixels is None:
            pixels = tf.cast(picture_decoder(image_size)(image), tf.float32)
        return pixels, ids if most > 1 else ids[0]

    files = tf.data.Dataset.from_tensor_slices(shards[host::hosts])
    if shuffle:
        files = files.shuffle(len(shards), seed)
    records = files.repeat(epochs).interleave(
        tf.data.TFRecordDataset,
        cycle_length=min(_SHARDS_AT_ONCE, len(shards)),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    records = records.ignore_errors(log_warning=True)
    if shuffle:
        records = records.shuffle(shuffle, seed)
    pictures = records.map(parsed, tf.data.AUTOTUNE, deterministic=True).filter(lambda _, ids: ids[0] >= 0)
    pictures = pictures.enumerate().map(decoded, tf.data.AUTOTUNE, deterministic=True).ignore_errors()
    batches = pictures.batch(batch_size, drop_remainder=True)
    if service is not None:
        batches = batches.apply(
            tf.data.experimental.service.distribute(tf.data.experimental.service.ShardingPolicy.OFF, service)
        )
    return batches.prefetch(tf.data.AUTOTUNE)


def _augmented(image: tf.Tensor, size: int, seed: tf.Tensor) -> tf.Tensor:
    """Makes float32 [S, S, 3]: a random crop, flipped half of the time, with random brightness and contrast."""
    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 4))
    drawn = tf.random.stateless_uniform([3], seeds[0])
    extent = tf.sqrt(_SMALLEST_AREA + drawn[0] * (1 - _SMALLEST_AREA))

    def box(height: tf.Tensor, width: tf.Tensor) -> list[tf.Tensor]:
        sides = [tf.cast(height, tf.float32), tf.cast(width, tf.float32)]
        cut = [tf.maximum(1, tf.cast(tf.round(side * extent), tf.int32)) for side in sides]
        free = [tf.cast(side, tf.int32) - one for side, one in zip(sides, cut)]
        start = [tf.cast(drawn[i + 1] * tf.cast(one + 1, tf.float32), tf.int32) for i, one in enumerate(free)]
        return [*(tf.minimum(a, b) for a, b in zip(start, free)), *cut]

    def jpeg() -> tf.Tensor:
        shape = tf.io.extract_jpeg_shape(checked_jpeg(image))
        crop = tf.io.decode_and_crop_jpeg(image, tf.stack(box(shape[0], shape[1])), channels=3)
        return upright(crop, jpeg_exif(image))

    def other() -> tf.Tensor:
        pixels = picture_decoder()(image)
        top, left, height, width = box(tf.shape(pixels)[0], tf.shape(pixels)[1])
        return pixels[top : top + height, left : left + width]

    pixels = tf.cond(starts_with(image, b"\xff\xd8"), jpeg, other)
    pixels = tf.image.resize(tf.ensure_shape(pixels, [None, None, 3]), [size, size], antialias=True)
    pixels = tf.image.stateless_random_flip_left_right(pixels, seeds[1])
    brightness = tf.random.stateless_uniform([], seeds[2], -25.5, 25.5)
    contrast = tf.random.stateless_uniform([], seeds[3], 0.8, 1.2)
    mean = tf.reduce_mean(pixels)
    return tf.clip_by_value((pixels - mean) * contrast + (mean + brightness), 0.0, 255.0)
