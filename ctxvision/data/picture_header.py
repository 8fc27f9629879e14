"""What a picture's header claims, read before anything is unpacked: a few bytes can claim gigabytes."""

from typing import Any

import tensorflow as tf

MAX_PIXELS = 50_000_000
_MOST_GIF_BLOCKS = 1 << 16
_GIF_EXTENSION, _GIF_IMAGE = 0x21, 0x2C


_PNG_MODES = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGB with alpha"}
_JPEG_MODES = {1: "grey", 3: "RGB", 4: "CMYK"}


def picture_kind(content: bytes) -> str:
    """Format and colours of a picture that decodes, such as "PNG palette"; GIF, BMP and WebP by their format alone."""
    if content.startswith(b"\x89PNG"):
        return f"PNG {_PNG_MODES.get(content[25], 'unknown')}"
    for magic, name in ((b"BM", "BMP"), (b"GIF8", "GIF"), (b"RIFF", "WebP")):
        if content.startswith(magic):
            return name
    channels = int(tf.io.extract_jpeg_shape(content)[2])
    return f"JPEG {_JPEG_MODES.get(channels, 'unknown')}"


def starts_with(image_bytes: tf.Tensor, magic: bytes) -> tf.Tensor:
    """Whether a scalar string starts with `magic`."""
    # substr clamps at the end of the string, so that an empty file is no error here.
    return tf.equal(tf.strings.substr(image_bytes, 0, len(magic)), magic)


def checked_jpeg(image_bytes: tf.Tensor) -> tf.Tensor:
    """The bytes as they are; tf.errors.InvalidArgumentError where the picture claims more than `MAX_PIXELS` pixels."""
    return _checked(image_bytes, tf.unstack(tf.cast(tf.io.extract_jpeg_shape(image_bytes)[:2], tf.int64)))


def checked_png(image_bytes: tf.Tensor) -> tf.Tensor:
    """As `checked_jpeg`; the size is that of the chunk IHDR."""
    header = _header(image_bytes)
    return _checked(image_bytes, [_number(header, at, 4, big_endian=True) for at in (16, 20)])


def checked_bmp(image_bytes: tf.Tensor) -> tf.Tensor:
    """As `checked_jpeg`; a negative height means rows from the top."""
    header = _header(image_bytes)
    height = _number(header, 22, 4)
    return _checked(image_bytes, [_number(header, 18, 4), tf.minimum(height, (1 << 32) - height)])


def checked_webp(image_bytes: tf.Tensor) -> tf.Tensor:
    """As `checked_jpeg`; an animation is refused as well."""
    header = _header(image_bytes)

    def lossy() -> list[tf.Tensor]:
        return [_number(header, at, 2) & 0x3FFF for at in (26, 28)]

    def lossless() -> list[tf.Tensor]:
        bits = _number(header, 21, 4)
        return [1 + (bits & 0x3FFF), 1 + (tf.bitwise.right_shift(bits, 14) & 0x3FFF)]

    def extended() -> list[tf.Tensor]:
        still = 1 - (tf.bitwise.right_shift(_number(header, 20, 1), 1) & 1)
        return [still * (1 + _number(header, at, 3)) for at in (24, 27)]

    kind = tf.strings.substr(image_bytes, 12, 4)
    size = tf.case([(tf.equal(kind, "VP8 "), lossy), (tf.equal(kind, "VP8L"), lossless)], default=extended)
    return _checked(image_bytes, size)


def first_gif_frame(image_bytes: tf.Tensor) -> tf.Tensor:
    """A GIF up to the end of its first frame, as a GIF: the decoder would unpack all frames.

    Raises:
        tf.errors.InvalidArgumentError: canvas or frame claim more than `MAX_PIXELS` pixels, or blocks do not follow
            each other as they must.
    """
    canvas = [_number(_header(image_bytes), at, 2) for at in (6, 8)]
    content = tf.io.decode_raw(_checked(image_bytes, canvas), tf.uint8)
    start = _while(
        lambda at: tf.equal(tf.cast(content[at], tf.int32), _GIF_EXTENSION),
        lambda at: _past_sub_blocks(content, at + 2),
        13 + _colour_table_bytes(content[10]),
    )
    with tf.control_dependencies([tf.debugging.assert_equal(tf.cast(content[start], tf.int32), _GIF_IMAGE)]):
        frame = [_number(content, start + at, 2) for at in (5, 7)]
    end = _past_sub_blocks(content, start + 11 + _colour_table_bytes(content[start + 9]))
    return tf.strings.join([tf.strings.substr(_checked(image_bytes, frame), 0, end), b";"])


def _past_sub_blocks(content: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    """Where the sub-blocks end that start there: each begins with its length, and one of none is the last."""
    last = _while(lambda at: content[at] > 0, lambda at: at + 1 + tf.cast(content[at], tf.int32), start)
    return last + 1


def _while(condition: Any, step: Any, start: tf.Tensor) -> tf.Tensor:
    # Bounded, so that no file keeps a server busy for minutes.
    (end,) = tf.while_loop(
        condition,
        lambda at: (step(at),),
        (start,),
        maximum_iterations=_MOST_GIF_BLOCKS,
        parallel_iterations=1,
    )
    return end


def _colour_table_bytes(flags: tf.Tensor) -> tf.Tensor:
    """int32, of a GIF's colour table, by the flags before it."""
    flags = tf.cast(flags, tf.int32)
    return tf.where(flags & 0x80 > 0, 3 * tf.bitwise.left_shift(2, flags & 7), 0)


def _header(image_bytes: tf.Tensor) -> tf.Tensor:
    """uint8 [32]: the first bytes of a file, zeros where it has fewer."""
    head = tf.strings.join([tf.strings.substr(image_bytes, 0, 32), bytes(32)])
    return tf.io.decode_raw(tf.strings.substr(head, 0, 32), tf.uint8)


def _number(content: tf.Tensor, at: Any, width: int, big_endian: bool = False) -> tf.Tensor:
    """int64, of `width` bytes at a position of uint8 [N]; tf.errors.InvalidArgumentError beyond its end."""
    digits = tf.ensure_shape(tf.cast(content[at : at + width], tf.int64), [width])
    powers = [256**i for i in range(width)]
    return tf.reduce_sum(digits * (powers[::-1] if big_endian else powers))


def _checked(image_bytes: tf.Tensor, size: list[tf.Tensor]) -> tf.Tensor:
    """The bytes, once width and height have passed."""
    # A side alone is at most one too many, so that the product cannot overflow.
    pixels = tf.reduce_prod(tf.minimum(tf.stack(size), MAX_PIXELS + 1))
    allowed = tf.logical_and(pixels > 0, pixels <= MAX_PIXELS)
    rule = tf.debugging.Assert(allowed, [f"a picture must have 1 to {MAX_PIXELS} pixels, got", pixels])
    with tf.control_dependencies([rule]):
        return tf.identity(image_bytes)
