"""Decodes encoded pictures into pixels, and makes augmented training batches."""

import functools
from collections.abc import Callable
from typing import Any

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
    return picture_decoder(image_size)(tf.ensure_shape(image_bytes, []))


@functools.lru_cache
def picture_decoder(image_size: int | None = None) -> Any:
    """Builds the `tf.function` of `decode_picture` for one size, once: tracing a branch per format takes time."""
    return _decoder(functools.partial(_decode, image_size=image_size))


@functools.lru_cache
def jpeg_decoder(image_size: int | None = None) -> Any:
    """Builds the part of `picture_decoder` for JPEGs, whose smaller graph is faster to call."""
    return _decoder(functools.partial(_decode_jpeg, image_size=image_size))


def _decoder(decode: Callable[[tf.Tensor], tf.Tensor]) -> Any:
    return tf.function(decode, input_signature=[tf.TensorSpec([], tf.string)], autograph=False)


def is_jpeg(image_bytes: tf.Tensor) -> tf.Tensor:
    """Tells whether files begin as JPEGs: a string tensor of any shape to a bool tensor of the same shape."""
    return starts_with(image_bytes, _JPEG_MAGIC)


def _decode(image_bytes: tf.Tensor, image_size: int | None) -> tf.Tensor:
    """Builds the graph of `decode_picture`."""
    return tf.cond(
        is_jpeg(image_bytes),
        lambda: jpeg_decoder(image_size)(image_bytes),
        # Most pictures are JPEGs, so the other decoders are kept out of their way.
        lambda: apart(functools.partial(_decode_other, image_size=image_size))(image_bytes),
    )


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
