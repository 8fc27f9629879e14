"""Reads the EXIF orientation of JPEG, PNG and WebP, and turns pictures upright, with core TensorFlow ops only."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from ctxvision._branches import apart
from ctxvision.data.picture_header import starts_with

# A branch, a loop or an assertion adds functions to the graph. TensorFlow optimises each function on its own and copies all
# others each time, so the time to prepare a graph grows with the square of their number: use arithmetic where it is enough.
UPRIGHT = 1
_EXIF = b"Exif\x00\x00"
_ORIENTATION, _SHORT = 0x0112, 3
# Limits on segments or chunks before EXIF, entries of its directory, and bytes of it; real files have a few of each.
_MOST_PARTS, _MOST_ENTRIES, _MOST_BYTES = 64, 512, 1 << 16
# An entry has 12 bytes: tag (2), type (2), count (4), and a short value (2) in a field of 4.
_WIDTHS = (2, 2, 4, 2)
_BIG_ENDIAN = np.array([256**i for width in _WIDTHS for i in reversed(range(width))] + [0, 0])
_LITTLE_ENDIAN = np.array([256**i for width in _WIDTHS for i in range(width)] + [0, 0])
_FIELDS = np.array(
    [[number == field for field in range(4)] for number in (0, 0, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3)], np.int64
)
# Beginning of a part: the marker, length and "Exif" of a JPEG's segment, or length and name of a chunk.
_HEAD = 10


def jpeg_exif(image_bytes: tf.Tensor) -> tf.Tensor:
    """Reads the EXIF of a JPEG, which lies in the segment APP1 (EXIF 2.32, section 4.5.4).

    Most pictures without EXIF have a JFIF segment and then tables; this is tested first, because a loop takes longer
    than decoding a small picture.

    Args:
        image_bytes: scalar string tensor, the file's content.

    Returns:
        Scalar string, a TIFF header and directories; "" if there is none.
    """
    jfif = _is_at(image_bytes, 2, b"\xff\xe0\x00\x10")
    tables = _is_at(image_bytes, tf.where(jfif, 20, 2), b"\xff\xdb")
    return tf.cond(tables, lambda: tf.constant(b""), lambda: apart(_in_segments)(image_bytes))


def png_exif(image_bytes: tf.Tensor) -> tf.Tensor:
    """Does the same for a PNG, whose EXIF lies in the chunk eXIf before the pixels."""
    pixels = _is_at(image_bytes, 37, b"IDAT")  # behind the signature and IHDR
    return tf.cond(pixels, lambda: tf.constant(b""), lambda: apart(_in_png_chunks)(image_bytes))


def webp_exif(image_bytes: tf.Tensor) -> tf.Tensor:
    """Does the same for a WebP, whose EXIF lies in the chunk EXIF; only the extended format has one."""
    extended = _is_at(image_bytes, 12, b"VP8X")
    return tf.cond(extended, lambda: _in_webp_chunks(image_bytes), lambda: tf.constant(b""))


def upright(pixels: tf.Tensor, exif: tf.Tensor) -> tf.Tensor:
    """Turns pixels [H, W, C] upright by the orientation in EXIF; the result may be [W, H, C]."""

    @apart
    def turned(pixels: tf.Tensor, exif: tf.Tensor) -> tf.Tensor:
        orientation = orientation_of(exif)
        found = tf.transpose(pixels, tf.where(orientation >= 5, [1, 0, 2], [0, 1, 2]))
        mirrored = tf.stack([_is_one_of(orientation, 3, 4, 7, 8), _is_one_of(orientation, 2, 3, 6, 7)])
        return tf.reverse(found, tf.boolean_mask([0, 1], mirrored))

    return tf.cond(tf.equal(exif, b""), lambda: pixels, lambda: turned(pixels, exif))


def orientation_of(exif: tf.Tensor) -> tf.Tensor:
    """Reads the orientation from the TIFF header and the first directory of EXIF.

    Args:
        exif: scalar string.

    Returns:
        int32 scalar in 1..8; 1 is upright, and the value for missing or broken EXIF.
    """
    big_endian = starts_with(exif, b"MM\x00*")
    weights = tf.where(big_endian, _BIG_ENDIAN, _LITTLE_ENDIAN)
    # The zeros behind the content are read for every byte beyond its end.
    content = tf.cast(tf.io.decode_raw(tf.strings.join([exif, bytes(12)]), tf.uint8), tf.int64)
    last = tf.size(content, tf.int64) - 1
    directory = tf.minimum(tf.reduce_sum(content[4:8] * weights[4:8]), last - 1)
    number = tf.minimum(tf.reduce_sum(content[directory : directory + 2] * weights[:2]), _MOST_ENTRIES)
    places = tf.minimum(directory + 2 + tf.range(12 * number), last)
    fields = tf.matmul(tf.reshape(tf.gather(content, places), [-1, 12]) * weights, _FIELDS)
    found = tf.reduce_all(tf.equal(fields[:, :3], [_ORIENTATION, _SHORT, 1]), axis=1)
    value = tf.reduce_max(tf.where(found, fields[:, 3], 0))
    good = tf.logical_and(value >= 1, value <= 8)
    known = tf.logical_or(big_endian, starts_with(exif, b"II*\x00"))
    return tf.where(tf.logical_and(known, good), tf.cast(value, tf.int32), UPRIGHT)


def _is_one_of(value: tf.Tensor, *numbers: int) -> tf.Tensor:
    return tf.reduce_any(tf.equal(value, tf.constant(numbers)))


def _in_segments(image_bytes: tf.Tensor) -> tf.Tensor:
    """Searches the segments before the pixels, whose markers are APP0 to APP15 or COM; returns EXIF's content or ""."""

    def is_exif(head: tf.Tensor) -> tf.Tensor:
        same = tf.equal(tf.gather(head, [0, 1, 4, 5, 6, 7, 8, 9]), [0xFF, 0xE1, *_EXIF])
        return tf.reduce_all(same)

    def passed(head: tf.Tensor) -> tf.Tensor:
        named = tf.logical_or(tf.equal(head[1] & 0xF0, 0xE0), tf.equal(head[1], 0xFE))
        return tf.logical_and(tf.logical_and(tf.equal(head[0], 0xFF), named), tf.logical_not(is_exif(head)))

    def length(head: tf.Tensor) -> tf.Tensor:
        return _number(head[2:4], big_endian=True)

    at, head = _walk(image_bytes, passed, lambda head: 2 + length(head), 2)
    return _part(image_bytes, at + 10, tf.where(is_exif(head), length(head) - 8, 0))


def _in_png_chunks(image_bytes: tf.Tensor) -> tf.Tensor:
    def passed(head: tf.Tensor) -> tf.Tensor:
        names = tf.constant([list(name) for name in (b"eXIf", b"IDAT", b"IEND", bytes(4))], tf.int64)
        return tf.logical_not(tf.reduce_any(tf.reduce_all(tf.equal(head[4:8], names), axis=1)))

    def length(head: tf.Tensor) -> tf.Tensor:
        return _number(head[:4], big_endian=True)

    at, head = _walk(image_bytes, passed, lambda head: 12 + length(head), 8)
    is_exif = tf.reduce_all(tf.equal(head[4:8], list(b"eXIf")))
    return _part(image_bytes, at + 8, tf.where(is_exif, length(head), 0))


def _in_webp_chunks(image_bytes: tf.Tensor) -> tf.Tensor:
    """Searches all chunks, because EXIF follows the pixels; some writers add a JPEG's EXIF prefix."""

    def passed(head: tf.Tensor) -> tf.Tensor:
        names = tf.constant([list(name) for name in (b"EXIF", bytes(4))], tf.int64)
        return tf.logical_not(tf.reduce_any(tf.reduce_all(tf.equal(head[:4], names), axis=1)))

    def length(head: tf.Tensor) -> tf.Tensor:
        return _number(head[4:8])

    # A chunk of odd length is padded by a byte.
    at, head = _walk(image_bytes, passed, lambda head: 8 + length(head) + length(head) % 2, 12)
    found = _part(image_bytes, at + 8, length(head))
    prefix = tf.where(starts_with(found, _EXIF), len(_EXIF), 0)
    content = tf.strings.substr(found, prefix, _MOST_BYTES)
    return tf.where(tf.reduce_all(tf.equal(head[:4], list(b"EXIF"))), content, "")


def _walk(
    image_bytes: tf.Tensor, passed: Callable[[Any], Any], length: Callable[[Any], Any], start: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Passes parts of a file, at most `_MOST_PARTS`.

    Args:
        image_bytes: the file's content.
        passed: tells from the `_HEAD` first bytes of a part, int64, whether the search goes on behind it.
        length: returns the part's length from the same bytes.
        start: the position of the first part.

    Returns:
        The position, int64, and the first bytes of the part that was not passed.
    """

    def head(at: tf.Tensor) -> tf.Tensor:
        padded = tf.io.decode_raw(_part(image_bytes, at, _HEAD), tf.uint8, fixed_length=_HEAD)
        return tf.ensure_shape(tf.cast(padded, tf.int64), [_HEAD])

    def step(at: tf.Tensor, passed_by: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        at += length(passed_by)
        return at, head(at)

    first = tf.constant(start, tf.int64)
    at, found = tf.while_loop(
        lambda _, head: passed(head),
        step,
        (first, head(first)),
        maximum_iterations=_MOST_PARTS,
        parallel_iterations=1,
    )
    return at, found


def _is_at(image_bytes: tf.Tensor, at: Any, name: bytes) -> tf.Tensor:
    """Tells whether a file has these bytes at a position, an int or int32."""
    at = tf.minimum(at, tf.strings.length(image_bytes))
    return tf.equal(tf.strings.substr(image_bytes, at, len(name)), name)


def _part(image_bytes: tf.Tensor, at: tf.Tensor, length: Any) -> tf.Tensor:
    """Takes up to `length` bytes from a position on, at most `_MOST_BYTES`, fewer at the end of the file."""
    size = tf.cast(tf.strings.length(image_bytes), tf.int64)
    length = tf.clip_by_value(tf.cast(length, tf.int64), 0, _MOST_BYTES)
    return tf.strings.substr(image_bytes, tf.minimum(at, size), length)


def _number(digits: tf.Tensor, big_endian: bool = False) -> tf.Tensor:
    powers = [256**i for i in range(digits.shape[0])]
    return tf.reduce_sum(digits * (powers[::-1] if big_endian else powers))
