"""Reads picture headers before decoding, because a file of a few bytes can claim gigabytes of pixels."""

from typing import Any, NamedTuple

import tensorflow as tf

MAX_PIXELS = 50_000_000
# A JPEG between the two limits is decoded to a quarter of its sides, which takes 1/16 of the memory.
MAX_JPEG_PIXELS = 200_000_000
_MOST_GIF_BLOCKS = 1 << 16
_GIF_EXTENSION, _GIF_CONTROL, _GIF_IMAGE = 0x21, 0xF9, 0x2C


_PNG_MODES = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGB with alpha"}
_JPEG_MODES = {1: "grey", 3: "RGB", 4: "CMYK"}


def picture_kind(content: bytes) -> str:
    """Names the format and colours of a decodable picture, such as "PNG palette"; GIF, BMP and WebP have no colours."""
    if content.startswith(b"\x89PNG"):
        return f"PNG {_PNG_MODES.get(content[25], 'unknown')}"
    for magic, name in ((b"BM", "BMP"), (b"GIF8", "GIF"), (b"RIFF", "WebP")):
        if content.startswith(magic):
            return name
    channels = int(tf.io.extract_jpeg_shape(content)[2])
    return f"JPEG {_JPEG_MODES.get(channels, 'unknown')}"


def starts_with(image_bytes: tf.Tensor, magic: bytes) -> tf.Tensor:
    """Tells whether strings start with `magic`."""
    # substr clamps at the end of the string, so an empty file raises no error here.
    return tf.equal(tf.strings.substr(image_bytes, 0, len(magic)), magic)


def required(condition: tf.Tensor, told: list[Any]) -> Any:
    """Returns an op that raises InvalidArgumentError with `told` if the condition is false.

    `tf.debugging.Assert` would add two functions to the graph, see `orientation`.
    """
    return tf.raw_ops.Assert(condition=condition, data=told)


def checked_jpeg(image_bytes: tf.Tensor, most: int = MAX_PIXELS) -> tf.Tensor:
    """Returns the bytes unchanged.

    Raises:
        tf.errors.InvalidArgumentError: the JPEG claims no pixel or more than `most` pixels.
    """
    return _checked(image_bytes, _jpeg_size(image_bytes), most)


def is_large_jpeg(image_bytes: tf.Tensor) -> tf.Tensor:
    """Tells whether a JPEG claims more than `MAX_PIXELS` pixels."""
    return tf.reduce_prod(tf.stack(_jpeg_size(image_bytes))) > MAX_PIXELS


def _jpeg_size(image_bytes: tf.Tensor) -> list[tf.Tensor]:
    return tf.unstack(tf.cast(tf.io.extract_jpeg_shape(image_bytes)[:2], tf.int64))


def checked_png(image_bytes: tf.Tensor) -> tf.Tensor:
    """Does the check of `checked_jpeg` for a PNG, whose size is in the chunk IHDR."""
    header = header_of(image_bytes)
    return _checked(image_bytes, [_number(header, at, 4, big_endian=True) for at in (16, 20)])


def checked_bmp(image_bytes: tf.Tensor) -> tf.Tensor:
    """Does the check of `checked_jpeg` for a BMP, whose height is negative if its rows run from top to bottom."""
    header = header_of(image_bytes)
    height = _number(header, 22, 4)
    return _checked(image_bytes, [_number(header, 18, 4), tf.minimum(height, (1 << 32) - height)])


def checked_webp(image_bytes: tf.Tensor) -> tf.Tensor:
    """Does the check of `checked_jpeg` for a WebP, and also refuses animations."""
    header = header_of(image_bytes)

    lossy = [_number(header, at, 2) & 0x3FFF for at in (26, 28)]
    bits = _number(header, 21, 4)
    lossless = [1 + (bits & 0x3FFF), 1 + (tf.bitwise.right_shift(bits, 14) & 0x3FFF)]
    still = 1 - (tf.bitwise.right_shift(_number(header, 20, 1), 1) & 1)
    extended = [still * (1 + _number(header, at, 3)) for at in (24, 27)]
    kind = tf.strings.substr(_head(image_bytes), 12, 4)
    size = tf.where(tf.equal(kind, "VP8 "), lossy, tf.where(tf.equal(kind, "VP8L"), lossless, extended))
    return _checked(image_bytes, tf.unstack(size))


class GifFrame(NamedTuple):
    """The first frame of a GIF.

    Attributes:
        content: scalar string, a GIF of that frame only, at its own size; its transparent colour is opaque white.
        around: int32 [2, 2], rows of the canvas above and below the frame, and columns left and right of it.
    """

    content: tf.Tensor
    around: tf.Tensor


def first_gif_frame(image_bytes: tf.Tensor) -> GifFrame:
    """Cuts a GIF after its first frame, because TensorFlow's decoder would decode all frames.

    Raises:
        tf.errors.InvalidArgumentError: canvas or frame claim no pixel or more than `MAX_PIXELS` pixels, or the sequence
            of blocks is invalid.
    """
    canvas = [_number(header_of(image_bytes), at, 2) for at in (6, 8)]
    content = tf.io.decode_raw(_checked(image_bytes, canvas), tf.uint8)
    colours = _colour_table_bytes(content[10])
    start, control = _past_extensions(content, 13 + colours)
    is_image = tf.equal(tf.cast(content[start], tf.int32), _GIF_IMAGE)
    with tf.control_dependencies([required(is_image, ["a GIF must have an image after its extensions"])]):
        left, top, width, height = (_number(content, start + at, 2) for at in (1, 3, 5, 7))
    own_colours = _colour_table_bytes(content[start + 9])
    end = _past_sub_blocks(content, start + 11 + own_colours)
    # A frame may reach beyond the canvas.
    shown = [tf.maximum(canvas[0], left + width), tf.maximum(canvas[1], top + height)]
    whole = tf.strings.substr(_checked(image_bytes, shown), 0, end)
    # The decoder makes the canvas as large as the frame, so the frame's offset must become 0.
    whole = _replaced(whole, start + 1, tf.constant(bytes(4)))
    table = tf.where(own_colours > 0, start + 10, 13)
    white = _transparent_as_white(content, whole, control, table, tf.maximum(own_colours, colours))
    around = [[top, canvas[1] - top - height], [left, canvas[0] - left - width]]
    return GifFrame(tf.strings.join([white, b";"]), tf.cast(tf.maximum(around, 0), tf.int32))


def _past_extensions(content: tf.Tensor, start: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Finds the end of the extensions at `start`, and the last control extension among them, -1 if there is none."""

    def passed(at: tf.Tensor, control: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        is_control = tf.logical_and(tf.equal(content[at + 1], _GIF_CONTROL), tf.equal(content[at + 2], 4))
        return _past_sub_blocks(content, at + 2), tf.where(is_control, at, control)

    end, control = tf.while_loop(
        lambda at, control: tf.equal(tf.cast(content[at], tf.int32), _GIF_EXTENSION),
        passed,
        (start, -1),
        maximum_iterations=_MOST_GIF_BLOCKS,
        parallel_iterations=1,
    )
    return end, control


def _transparent_as_white(
    content: tf.Tensor, frame: tf.Tensor, control: tf.Tensor, table: tf.Tensor, size: tf.Tensor
) -> tf.Tensor:
    """Makes the transparent colour of `frame` opaque white in the colour table of `size` bytes at `table`."""

    at = tf.maximum(control, 0)
    colour = 3 * tf.cast(content[at + 6], tf.int32)
    opaque = _replaced(frame, at + 3, tf.constant(b"\x00"))
    white = _replaced(opaque, table + tf.minimum(colour, size), tf.constant(b"\xff" * 3))
    flagged = tf.logical_and(control >= 0, tf.cast(content[at + 3], tf.int32) & 1 > 0)
    return tf.where(flagged, tf.where(colour < size, white, opaque), frame)


def _replaced(text: tf.Tensor, at: tf.Tensor, part: tf.Tensor) -> tf.Tensor:
    end = at + tf.strings.length(part)
    return tf.strings.join(
        [tf.strings.substr(text, 0, at), part, tf.strings.substr(text, end, tf.strings.length(text) - end)]
    )


def _past_sub_blocks(content: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    """Finds the end of a chain of sub-blocks; each starts with its length, and length 0 ends the chain."""
    last = _while(lambda at: content[at] > 0, lambda at: at + 1 + tf.cast(content[at], tf.int32), start)
    return last + 1


def _while(condition: Any, step: Any, start: tf.Tensor) -> tf.Tensor:
    # The bound keeps a malicious file from occupying a server for minutes.
    (end,) = tf.while_loop(
        condition,
        lambda at: (step(at),),
        (start,),
        maximum_iterations=_MOST_GIF_BLOCKS,
        parallel_iterations=1,
    )
    return end


def _colour_table_bytes(flags: tf.Tensor) -> tf.Tensor:
    """Computes the size of a GIF's colour table in bytes, int32, from the flags before the table."""
    flags = tf.cast(flags, tf.int32)
    return tf.where(flags & 0x80 > 0, 3 * tf.bitwise.left_shift(2, flags & 7), 0)


def header_of(image_bytes: tf.Tensor) -> tf.Tensor:
    """Reads the first bytes of a file, uint8 [32], zeros beyond its end."""
    return tf.io.decode_raw(_head(image_bytes), tf.uint8)


def _head(image_bytes: tf.Tensor) -> tf.Tensor:
    """Returns the first 32 bytes of a file, with zeros beyond its end, as a string.

    A `substr` beyond the end fails with the file's bytes in its message, which Python cannot decode.
    """
    return tf.strings.substr(tf.strings.join([tf.strings.substr(image_bytes, 0, 32), bytes(32)]), 0, 32)


def _number(content: tf.Tensor, at: Any, width: int, big_endian: bool = False) -> tf.Tensor:
    """Reads an int64 of `width` bytes at a position of uint8 [N]; tf.errors.InvalidArgumentError beyond the end."""
    digits = tf.ensure_shape(tf.cast(content[at : at + width], tf.int64), [width])
    powers = [256**i for i in range(width)]
    return tf.reduce_sum(digits * (powers[::-1] if big_endian else powers))


def _checked(image_bytes: tf.Tensor, size: list[tf.Tensor], most: int = MAX_PIXELS) -> tf.Tensor:
    """Returns the bytes after a check of width x height."""
    # Each side is cut to most + 1, so the product cannot overflow.
    pixels = tf.reduce_prod(tf.minimum(tf.stack(size), most + 1))
    allowed = tf.logical_and(pixels > 0, pixels <= most)
    rule = [f"a picture must have 1 to {most} pixels, got", pixels]
    with tf.control_dependencies([required(allowed, rule)]):
        return tf.identity(image_bytes)
