"""Training batches streamed from TFRecords: what does not fit on one machine, and what a TPU reads."""

from collections.abc import Sequence

import tensorflow as tf

from ctxvision.data.orientation import orientation_of, upright
from ctxvision.data.picture_header import checked_jpeg, starts_with
from ctxvision.data.pictures import picture_decoder
from ctxvision.data.records import record_files
from ctxvision.errors import InputError

_SMALLEST_AREA = 0.75  # of a crop, as in `training_batches`
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
    """Reads, decodes, augments and batches records without holding them.

    Shards are read in a new order each epoch, several at once, each with a part of it by each of several hosts. A JPEG is
    decoded where its crop lies alone. Strings become numbers here and never reach the device; shapes are static. Records
    whose picture does not decode are left out, and so is the rest of a shard behind a damaged record (TensorFlow logs
    it); `ctxvision data check` counts both beforehand.

    Args:
        pattern: names the shards, local or `gs://`, as `tools/write_tfrecords.py` writes them.
        classes: C labels or queries, the numbers of which are wanted.
        batch_size: B, of this host; the rest that fills no batch is left out.
        image_size: side S of the pictures.
        feature: of the record that holds classes: "label" or "query".
        most: classes of a picture at most, Q; what has more keeps the first.
        seed: of the order and of the augmentation.
        epochs: passes over the records; None goes on for ever.
        augment: False takes whole pictures as they are.
        shuffle: records that wait to be drawn from; 0 keeps the order.
        host, hosts: number of this host in 0..hosts - 1: it reads the shards that are its own. There must be a shard for
            each.
        service: address of a tf.data service, `grpc://HOST:PORT`, which then does the work; None does it here.

    Returns:
        A dataset of `(pixels, ids)`: float32 [B, S, S, 3] in 0..255; int32 [B], or [B, Q] padded with -1 where `most` is
        above 1. A picture without any of the classes is left out.

    Raises:
        InputError: no such shard, fewer of them than hosts, or numbers out of range.

    Example:
        >>> batches = record_batches("gs://bucket/train-*", labels, 1024, 224, hosts=8, host=3)
        >>> model.fit(batches, steps_per_epoch=1000, epochs=90)
    """
    shards = record_files(pattern)
    if not 0 <= host < hosts or len(shards) < hosts:
        raise InputError(
            f"host must be a number below hosts and each host must have a shard, got host {host} of {hosts} and "
            f"{len(shards)} shards: write more shards, or use fewer hosts."
        )
    if min(batch_size, image_size, most) < 1 or not len(classes):
        raise InputError(
            f"batch_size, image_size, most and the number of classes must be 1 or more, got {batch_size}, {image_size}, "
            f"{most} and {len(classes)}: correct them."
        )
    numbers = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(list(classes), tf.range(len(classes), dtype=tf.int32)), -1
    )

    # No Python control flow inside: converting it would take seconds.
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
    """float32 [S, S, 3]: a random crop, mirrored half of the time, with other brightness and contrast."""
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
        return upright(crop, orientation_of(image))

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
