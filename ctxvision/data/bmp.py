"""Decodes BMP pictures, also of 1 and 4 bits per pixel, which `tf.io.decode_bmp` does not read."""

import tensorflow as tf

from ctxvision.data.picture_header import checked_bmp, required


def bmp_samples(image_bytes: tf.Tensor) -> tf.Tensor:
    """Decodes an uncompressed BMP of 1, 4, 8, 24 or 32 bits per pixel, with core TensorFlow ops only.

    Args:
        image_bytes: scalar string tensor, the file's content.

    Returns:
        uint8 [H, W, 3], or [H, W, 4] for 32-bit pixels, whose fourth byte may be alpha or padding.

    Raises:
        tf.errors.InvalidArgumentError: the file is damaged, is compressed, or has another depth or too many pixels.
    """
    content = checked_bmp(image_bytes)
    depth, compression = _field(content, 28, tf.uint16), _field(content, 30)
    packed = tf.logical_and(tf.less(depth, 8), tf.equal(compression, 0))

    def unpacked() -> tf.Tensor:
        pixels = tf.io.decode_bmp(content, channels=0)
        grey = tf.equal(tf.shape(pixels)[-1], 1)
        return tf.cond(grey, lambda: _coloured(content, pixels[..., 0]), lambda: pixels)

    return tf.cond(packed, lambda: _coloured(content, _packed_indices(content, depth)), unpacked)


def _packed_indices(content: tf.Tensor, depth: tf.Tensor) -> tf.Tensor:
    """Unpacks the colour table indices, two or eight per byte, to uint8 [H, W]."""
    known = tf.reduce_any(tf.equal(depth, [1, 4]))
    rule = ["a BMP must have 1, 4, 8, 24 or 32 bits per pixel, got", depth]
    with tf.control_dependencies([required(known, rule)]):
        width, height, start = _field(content, 18), _field(content, 22), _field(content, 10)
    rows, row_bytes = tf.abs(height), (width * depth + 31) // 32 * 4
    packed = _part(content, start, rows * row_bytes)
    packed = tf.cast(tf.reshape(packed, [rows, row_bytes, 1]), tf.int32)
    shifts = tf.range(8 - depth, -1, -depth)
    indices = tf.bitwise.right_shift(packed, shifts) & (tf.bitwise.left_shift(1, depth) - 1)
    indices = tf.cast(tf.reshape(indices, [rows, -1])[:, :width], tf.uint8)
    return tf.reverse(indices, tf.boolean_mask([0], [height > 0]))  # rows run from bottom to top


def _coloured(content: tf.Tensor, indices: tf.Tensor) -> tf.Tensor:
    """Maps indices [H, W] to colours uint8 [H, W, 3] by the colour table, which `decode_bmp` ignores."""
    start, pixel_data = 14 + _field(content, 14), _field(content, 10)
    size = tf.minimum((pixel_data - start) // 4, 256) * 4
    table = tf.reshape(_part(content, start, size), [-1, 4])
    return tf.gather(table[:, 2::-1], tf.cast(indices, tf.int32))


def _field(content: tf.Tensor, position: int, dtype: tf.DType = tf.int32) -> tf.Tensor:
    """Reads a number of the header as int32."""
    return tf.cast(_part(content, position, dtype.size, dtype)[0], tf.int32)


def _part(content: tf.Tensor, at: tf.Tensor, length: tf.Tensor, dtype: tf.DType = tf.uint8) -> tf.Tensor:
    """Reads `length` bytes from a position on, fewer at the end of the file.

    A `substr` from beyond the end fails with the file's bytes in its message, which Python cannot decode.
    """
    at = tf.clip_by_value(at, 0, tf.strings.length(content))
    return tf.io.decode_raw(tf.strings.substr(content, at, tf.maximum(length, 0)), dtype)
