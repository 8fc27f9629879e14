"""Decodes encoded pictures into pixels, and makes augmented training batches."""

import functools
import operator
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from ctxvision._branches import apart
from ctxvision.data.bmp import bmp_samples
from ctxvision.data.orientation import jpeg_exif, png_exif, upright, webp_exif
from ctxvision.data.picture_header import (
    MAX_JPEG_PIXELS,
    checked_jpeg,
    checked_png,
    checked_webp,
    first_gif_frame,
    header_of,
    is_large_jpeg,
    required,
    starts_with,
)
from ctxvision.errors import InputError

_JPEG_MAGIC = b"\xff\xd8"
_PNG_MAGIC, _BMP_MAGIC, _GIF_MAGIC, _WEBP_MAGIC = b"\x89PNG", b"BM", b"GIF8", b"RIFF"

# Pixels uint8 [H, W, 3], or [H, W, 4] with alpha, and EXIF, "" if there is none.
Decoded = tuple[tf.Tensor, tf.Tensor]


def decode_picture(image_bytes: tf.Tensor, image_size: int | None = None) -> tf.Tensor:
    """Decodes one JPEG, PNG, GIF (first frame), BMP or still WebP into RGB, with core TensorFlow ops only.

    - Transparent pictures (palette with transparency, RGBA, grey with alpha, also in WebP and GIF) are composited on
      white. Greyscale and CMYK become RGB. Colour profiles are not applied.
    - 16-bit samples are reduced to the upper 8 of the bits that the picture uses, see `used_bits`.
    - EXIF orientation is applied, see `orientation_of`.
    - The header is read first: a picture that claims more than 50,000,000 pixels is refused. A JPEG with more pixels,
      up to 200,000,000 as phones make them, is decoded to a quarter of its sides.

    Training and serving use this graph, so both see the same pixels.

    Args:
        image_bytes: scalar string tensor, the file's content.
        image_size: side S of the square that the picture is resized to (bilinear, antialiased; the aspect
            ratio is not kept). None keeps the picture's own size.

    Returns:
        uint8 [S, S, 3], or [H, W, 3] if `image_size` is None.

    Raises:
        tf.errors.InvalidArgumentError: the bytes are not a picture of these formats, or the picture has too many
        pixels.

    Example:
        >>> decode_picture(tf.io.read_file("picture.jpg"), image_size=48).shape
        TensorShape([48, 48, 3])
    """
    image_bytes = tf.convert_to_tensor(image_bytes, tf.string)
    return tf.cond(
        is_jpeg(image_bytes),
        lambda: jpeg_decoder(image_size)(image_bytes),
        # Most pictures are JPEGs, so the other decoders are kept out of their way.
        lambda: apart(functools.partial(_decode_other, image_size=image_size))(image_bytes),
    )


@functools.lru_cache
def picture_decoder(image_size: int | None = None) -> Any:
    """Builds a `tf.function` of `decode_picture` for one size, once: tracing a branch per format takes time."""
    return _decoder(functools.partial(decode_picture, image_size=image_size))


@functools.lru_cache
def jpeg_decoder(image_size: int | None = None) -> Any:
    """Builds the part of `picture_decoder` for JPEGs, whose smaller graph is faster to call."""
    return _decoder(functools.partial(_decode_jpeg, image_size=image_size))


def _decoder(decode: Callable[[tf.Tensor], tf.Tensor]) -> Any:
    return tf.function(decode, input_signature=[tf.TensorSpec([], tf.string)], autograph=False)


def is_jpeg(image_bytes: tf.Tensor) -> tf.Tensor:
    """Tells whether files begin as JPEGs: a string tensor of any shape to a bool tensor of the same shape."""
    return starts_with(image_bytes, _JPEG_MAGIC)


def _decode_other(image_bytes: tf.Tensor, image_size: int | None) -> tf.Tensor:
    """Decodes a picture that is not a JPEG, composites it on white where it is transparent, and resizes it."""
    magics, decoders = zip(*_DECODERS.items())
    known = [starts_with(image_bytes, magic) for magic in magics]
    rule = ["a picture must be JPEG, PNG, GIF, BMP or WebP"]
    with tf.control_dependencies([required(tf.reduce_any(known), rule)]):
        place = tf.argmax(tf.cast(known, tf.int32), output_type=tf.int32)
    branches = [functools.partial(apart(decode), image_bytes) for decode in decoders]
    pixels, exif = tf.switch_case(place, branches)
    pixels = tf.ensure_shape(pixels, [None, None, None])
    opaque = tf.equal(tf.shape(pixels)[-1], 3)
    sized = functools.partial(_sized, image_size=image_size)
    pixels = tf.cond(opaque, lambda: sized(pixels), lambda: _on_white(pixels, sized))
    return _finished(pixels, exif, image_size)


def _decode_jpeg(image_bytes: tf.Tensor, image_size: int | None) -> tf.Tensor:
    content = checked_jpeg(image_bytes, MAX_JPEG_PIXELS)
    pixels = tf.cond(
        is_large_jpeg(image_bytes),
        lambda: tf.io.decode_jpeg(content, channels=3, ratio=4),
        lambda: tf.io.decode_jpeg(content, channels=3),
    )
    return _finished(_sized(pixels, image_size), jpeg_exif(image_bytes), image_size)


def _sized(pixels: tf.Tensor, image_size: int | None) -> tf.Tensor:
    """Resizes to float [S, S, 3], or casts; resizing reads uint8, so large pictures are never held as floats."""
    pixels = tf.ensure_shape(pixels, [None, None, 3])
    if image_size is None:
        return tf.cast(pixels, tf.float32)
    return tf.image.resize(pixels, [image_size, image_size], method="bilinear", antialias=True)


def _finished(pixels: tf.Tensor, exif: tf.Tensor, image_size: int | None) -> tf.Tensor:
    """Rounds float pixels to uint8 and turns them upright."""
    pixels = tf.cast(tf.clip_by_value(tf.round(pixels), 0.0, 255.0), tf.uint8)
    return tf.ensure_shape(upright(pixels, exif), [image_size, image_size, 3])


def _decode_gif(image_bytes: tf.Tensor) -> Decoded:
    frame = first_gif_frame(image_bytes)
    pixels = tf.io.decode_gif(frame.content)[0]
    around = tf.concat([frame.around, [[0, 0]]], axis=0)
    return tf.pad(pixels, around, constant_values=tf.constant(255, tf.uint8)), tf.constant(b"")


def _decode_webp(image_bytes: tf.Tensor) -> Decoded:
    pixels = tf.io.decode_image(checked_webp(image_bytes), channels=0, expand_animations=False)
    return pixels, webp_exif(image_bytes)


def used_bits(samples: tf.Tensor) -> tf.Tensor:
    """Finds how many bits the colours of a 16-bit picture use.

    Cameras and scanners write samples of 10, 12 or 14 bits into 16-bit files without scaling them. Without correction
    such pictures are nearly black.

    Args:
        samples: uint16 [H, W, 3], or [H, W, 4] with alpha.

    Returns:
        int32 scalar: 8, 10, 12, 14 or 16.
    """
    brightest = tf.cast(tf.reduce_max(tf.reduce_max(samples, axis=[0, 1])[:3]), tf.int32)
    return 8 + 2 * tf.reduce_sum(tf.cast(brightest >= [1 << 8, 1 << 10, 1 << 12, 1 << 14], tf.int32))


def bits_of(content: bytes) -> int | None:
    """Returns `used_bits` of a decodable 16-bit PNG, None for every other picture."""
    if not content.startswith(_PNG_MAGIC) or content[24] != 16:
        return None
    return int(used_bits(tf.io.decode_png(content, channels=3, dtype=tf.uint16)))


def _decode_png(image_bytes: tf.Tensor) -> Decoded:
    """Decodes a PNG.

    For an opaque picture with fewer than 8 bits per sample, `decode_png` sets alpha to the highest value of that depth
    (1, 3 or 15) instead of 255, so that value counts as opaque.
    """
    content = checked_png(image_bytes)
    depth = tf.cast(header_of(image_bytes)[24], tf.int32)

    def sixteen_bits() -> tf.Tensor:
        samples = tf.io.decode_png(content, channels=4, dtype=tf.uint16)
        lowest = used_bits(samples) - 8
        return tf.cast(
            tf.bitwise.right_shift(samples, tf.cast([lowest, lowest, lowest, 8], tf.uint16)), tf.uint8
        )

    pixels = tf.cond(tf.equal(depth, 16), sixteen_bits, lambda: tf.io.decode_png(content, channels=4))
    filler = tf.cast(tf.bitwise.left_shift(1, tf.minimum(depth, 8)) - 1, tf.uint8)
    return _without_alpha(pixels, filler), png_exif(image_bytes)


def _decode_bmp(image_bytes: tf.Tensor) -> Decoded:
    """Decodes a BMP; an alpha channel of zeros is padding, not transparency."""
    return _without_alpha(bmp_samples(image_bytes), tf.constant(0, tf.uint8)), tf.constant(b"")


def _without_alpha(pixels: tf.Tensor, opaque: tf.Tensor) -> tf.Tensor:
    """Drops the alpha of uint8 [H, W, 3 or 4] if all of it has the value `opaque`."""
    meaningless = tf.reduce_all(tf.equal(pixels[..., 3:], opaque))
    return pixels[..., : tf.where(meaningless, 3, 4)]


def _on_white(pixels: tf.Tensor, sized: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    """Composites uint8 RGBA [H, W, 4] on white, then resizes."""
    pixels = tf.cast(pixels, tf.uint16)
    alpha = pixels[..., 3:]
    return sized(pixels[..., :3] * alpha + 255 * (255 - alpha)) / 255.0


# Decoders of other formats than JPEG by the first bytes of a file.
_DECODERS: dict[bytes, Callable[[tf.Tensor], Decoded]] = {
    _PNG_MAGIC: _decode_png,
    _BMP_MAGIC: _decode_bmp,
    _GIF_MAGIC: _decode_gif,
    _WEBP_MAGIC: _decode_webp,
}


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
