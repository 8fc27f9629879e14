"""Reads the EXIF orientation of JPEG, PNG and WebP, and turns pictures upright, with core TensorFlow ops only."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from ctxvision.data.picture_header import starts_with

UPRIGHT = 1
_EXIF = b"Exif\x00\x00"
_ORIENTATION, _SHORT = 0x0112, 3
# Limits on segments or chunks before EXIF, entries of its directory, and bytes of it; real files have a few of each.
_MOST_PARTS, _MOST_ENTRIES, _MOST_BYTES = 64, 512, 1 << 16


def orientation_of(image_bytes: tf.Tensor) -> tf.Tensor:
    """Reads the orientation from an encoded picture's EXIF.

    EXIF lies in the segment APP1 of a JPEG, in the chunk eXIf of a PNG before the pixels, and in the chunk EXIF of a
    WebP (EXIF 2.32, section 4.6.4).

    Args:
        image_bytes: scalar string tensor, the file's content.

    Returns:
        int32 scalar in 1..8; 1 is upright, and the value for other formats and for missing or broken EXIF.
    """
    exif = tf.case(
        [
            (starts_with(image_bytes, b"\xff\xd8"), lambda: _jpeg_exif(image_bytes)),
            (starts_with(image_bytes, b"\x89PNG"), lambda: _png_exif(image_bytes)),
            (starts_with(image_bytes, b"RIFF"), lambda: _webp_exif(image_bytes)),
        ],
        default=lambda: tf.constant(b""),
    )
    none = tf.less(tf.strings.length(exif), 8)
    return tf.cond(none, lambda: tf.constant(UPRIGHT), lambda: _orientation_in(exif))


def upright(pixels: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Turns pixels [H, W, C] upright; the result is [W, H, C] for the orientations 5 to 8."""

    def turned() -> tf.Tensor:
        found = tf.cond(orientation >= 5, lambda: tf.transpose(pixels, [1, 0, 2]), lambda: pixels)
        found = tf.cond(_is_one_of(orientation, 2, 3, 6, 7), lambda: tf.reverse(found, [1]), lambda: found)
        return tf.cond(_is_one_of(orientation, 3, 4, 7, 8), lambda: tf.reverse(found, [0]), lambda: found)

    return tf.cond(orientation > UPRIGHT, turned, lambda: pixels)


def _is_one_of(value: tf.Tensor, *numbers: int) -> tf.Tensor:
    return tf.reduce_any(tf.equal(value, tf.constant(numbers)))


def _jpeg_exif(image_bytes: tf.Tensor) -> tf.Tensor:
    """Searches the segments before the pixels, whose markers are APP0 to APP15 or COM."""

    def is_exif(at: tf.Tensor) -> tf.Tensor:
        is_app1 = tf.equal(_part(image_bytes, at, 2), b"\xff\xe1")
        return tf.logical_and(is_app1, tf.equal(_part(image_bytes, at + 4, 6), _EXIF))

    def passed(at: tf.Tensor) -> tf.Tensor:
        head = _bytes(image_bytes, at, 2)
        named = tf.logical_or(tf.logical_and(head[1] >= 0xE0, head[1] <= 0xEF), tf.equal(head[1], 0xFE))
        return tf.reduce_all([tf.equal(head[0], 0xFF), named, tf.logical_not(is_exif(at))])

    def length(at: tf.Tensor) -> tf.Tensor:
        return _number(_bytes(image_bytes, at + 2, 2), big_endian=True)

    at = _walk(passed, lambda at: at + 2 + length(at), 2)
    return tf.cond(is_exif(at), lambda: _part(image_bytes, at + 10, length(at) - 8), lambda: tf.constant(b""))


def _png_exif(image_bytes: tf.Tensor) -> tf.Tensor:
    def kind(at: tf.Tensor) -> tf.Tensor:
        return _part(image_bytes, at + 4, 4)

    def length(at: tf.Tensor) -> tf.Tensor:
        return _number(_bytes(image_bytes, at, 4), big_endian=True)

    def passed(at: tf.Tensor) -> tf.Tensor:
        last = tf.equal(kind(at), tf.constant([b"eXIf", b"IDAT", b"IEND", b""]))
        return tf.logical_not(tf.reduce_any(last))

    at = _walk(passed, lambda at: at + 12 + length(at), 8)
    return tf.cond(
        tf.equal(kind(at), b"eXIf"),
        lambda: _part(image_bytes, at + 8, length(at)),
        lambda: tf.constant(b""),
    )


def _webp_exif(image_bytes: tf.Tensor) -> tf.Tensor:
    """Searches all chunks, because EXIF follows the pixels; some writers add a JPEG's EXIF prefix."""

    def kind(at: tf.Tensor) -> tf.Tensor:
        return _part(image_bytes, at, 4)

    def length(at: tf.Tensor) -> tf.Tensor:
        return _number(_bytes(image_bytes, at + 4, 4))

    def passed(at: tf.Tensor) -> tf.Tensor:
        return tf.logical_not(tf.reduce_any(tf.equal(kind(at), tf.constant([b"EXIF", b""]))))

    def content(at: tf.Tensor) -> tf.Tensor:
        found = _part(image_bytes, at + 8, length(at))
        return tf.cond(
            starts_with(found, _EXIF),
            lambda: _part(found, tf.constant(6, tf.int64), length(at)),
            lambda: found,
        )

    # A chunk of odd length is padded by a byte.
    at = _walk(passed, lambda at: at + 8 + length(at) + length(at) % 2, 12)
    return tf.cond(tf.equal(kind(at), b"EXIF"), lambda: content(at), lambda: tf.constant(b""))


def _orientation_in(exif: tf.Tensor) -> tf.Tensor:
    """Reads the orientation from a TIFF header and its first directory."""
    content = tf.cast(tf.io.decode_raw(exif, tf.uint8), tf.int64)
    size = tf.size(content, tf.int64)
    big_endian = starts_with(exif, b"MM\x00*")

    def numbers(at: tf.Tensor, width: int) -> tf.Tensor:
        """Reads a number of `width` bytes at each position; bytes beyond the end are 0."""
        places = tf.expand_dims(at, -1) + tf.range(width, dtype=tf.int64)
        digits = tf.gather(content, tf.clip_by_value(places, 0, size - 1))
        digits = tf.where(places < size, digits, 0)
        digits = tf.cond(big_endian, lambda: digits, lambda: tf.reverse(digits, [-1]))
        return tf.reduce_sum(digits * [256**i for i in reversed(range(width))], axis=-1)

    directory = numbers(tf.constant(4, tf.int64), 4)
    entries = directory + 2 + 12 * tf.range(tf.minimum(numbers(directory, 2), _MOST_ENTRIES))
    found = tf.reduce_all(
        [
            tf.equal(numbers(entries, 2), _ORIENTATION),
            tf.equal(numbers(entries + 2, 2), _SHORT),
            tf.equal(numbers(entries + 4, 4), 1),
        ],
        axis=0,
    )
    value = tf.reduce_max(tf.where(found, numbers(entries + 8, 2), 0))
    good = tf.logical_and(value >= 1, value <= 8)
    known = tf.logical_or(big_endian, starts_with(exif, b"II*\x00"))
    return tf.where(tf.logical_and(known, good), tf.cast(value, tf.int32), UPRIGHT)


def _walk(condition: Callable[[Any], Any], step: Callable[[Any], Any], start: int) -> tf.Tensor:
    (end,) = tf.while_loop(
        condition,
        lambda at: (step(at),),
        (tf.constant(start, tf.int64),),
        maximum_iterations=_MOST_PARTS,
        parallel_iterations=1,
    )
    return end


def _part(image_bytes: tf.Tensor, at: tf.Tensor, length: Any) -> tf.Tensor:
    """Takes up to `length` bytes from a position on, at most `_MOST_BYTES`, fewer at the end of the file."""
    size = tf.strings.length(image_bytes)
    start = tf.cast(tf.minimum(at, tf.cast(size, tf.int64)), tf.int32)
    length = tf.cast(tf.clip_by_value(tf.cast(length, tf.int64), 0, _MOST_BYTES), tf.int32)
    return tf.strings.substr(image_bytes, start, length)


def _bytes(image_bytes: tf.Tensor, at: tf.Tensor, number: int) -> tf.Tensor:
    """Takes int64 [number] bytes from a position on, zeros beyond the end of the file."""
    padded = tf.strings.join([_part(image_bytes, at, number), bytes(number)])
    content = tf.io.decode_raw(tf.strings.substr(padded, 0, number), tf.uint8)
    return tf.ensure_shape(tf.cast(content, tf.int64), [number])


def _number(digits: tf.Tensor, big_endian: bool = False) -> tf.Tensor:
    powers = [256**i for i in range(digits.shape[0])]
    return tf.reduce_sum(digits * (powers[::-1] if big_endian else powers))
