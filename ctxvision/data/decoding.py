"""Decodes many pictures, in a graph or into an array. Damaged pictures are marked and do not stop it."""

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ctxvision._branches import apart
from ctxvision.data.pictures import is_jpeg, jpeg_decoder, picture_decoder

# Pictures that a served model decodes at once; the largest allowed picture takes some 400 MB.
_SERVED_AT_ONCE = 4
_CORES = os.cpu_count() or 1
# Limits of one call of `load_pictures` and `load_encoded` to the graph.
_PICTURES, _BYTES = 256, 64 << 20
# An accelerator does not decode, so the arrays need not travel to it and back.
_HOST = "CPU:0"


def decode_pictures(image_bytes: tf.Tensor, image_size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes a batch in which some pictures may be damaged, with core ops alone.

    Args:
        image_bytes: string [B], contents of files; B may be 0.
        image_size: side S of the square to which pictures are resized.

    Returns:
        uint8 [B, S, S, 3], zeros for a damaged picture, and bool [B], true for a picture that was decoded.
    """
    return _batch_decoder(image_size)(image_bytes)


def load_pictures(
    paths: Sequence[str], image_size: int, out: np.ndarray | None = None
) -> tuple[np.ndarray, list[int]]:
    """Reads and decodes many files in parallel, and skips files that are missing or not pictures.

    Args:
        paths: N file names (local, or any that TensorFlow reads, such as `gs://`).
        image_size: side S of the pictures.
        out: uint8 [N, S, S, 3] to write into, for example a `np.memmap`; None makes a new array.

    Returns:
        The pictures, uint8 [N, S, S, 3] in the order of `paths`, and the ascending positions of the files that could
        not be read or decoded. The rows of those files are zeros.

    Raises:
        ValueError: `out` has another shape or dtype.
    """
    out = _array(out, len(paths), image_size)
    decode, decoded = _batch_decoder(image_size, _CORES, files=True), np.zeros(len(paths), bool)
    for start in range(0, len(paths), _PICTURES):
        part = slice(start, start + _PICTURES)
        with tf.device(_HOST):
            out[part], decoded[part] = decode(tf.constant(paths[part], tf.string))
    return out, np.flatnonzero(~decoded).tolist()


def load_encoded(
    encoded: Iterable[tuple[int, bytes | None]], number: int, image_size: int, out: np.ndarray | None = None
) -> tuple[np.ndarray, list[int]]:
    """Decodes many encoded pictures in parallel; `load_pictures` does the same for files.

    Args:
        encoded: yields (row, encoded picture) in any order, each row in 0..number - 1 at most once. None as the picture
            means that it could not be read. The iterable is read once.
        number: N, the number of rows.
        image_size, out: as in `load_pictures`.

    Returns:
        The pictures and the rows that could not be decoded, as in `load_pictures`. Rows that `encoded` does not yield
        are among them.

    Raises:
        ValueError: `out` has another shape or dtype.
    """
    out = _array(out, number, image_size)
    decode, decoded = _batch_decoder(image_size, _CORES), np.zeros(number, bool)
    for rows, contents in _parts(encoded):
        with tf.device(_HOST):
            out[rows], decoded[rows] = decode(tf.constant(contents, tf.string))
    out[~decoded] = 0
    return out, np.flatnonzero(~decoded).tolist()


def _array(out: np.ndarray | None, number: int, image_size: int) -> np.ndarray:
    shape = (number, image_size, image_size, 3)
    if out is None:
        return np.zeros(shape, np.uint8)
    if out.shape != shape or out.dtype != np.uint8:
        raise ValueError(
            f"out must be uint8 {list(shape)}, got {out.dtype} {list(out.shape)}: allocate an array of that shape."
        )
    return out


def _parts(encoded: Iterable[tuple[int, bytes | None]]) -> Iterator[tuple[list[int], list[bytes]]]:
    """Groups readable pictures into parts within the limits of a call; a larger picture is a part of its own."""
    rows: list[int] = []
    contents: list[bytes] = []
    size = 0
    for row, content in encoded:
        if content is None:
            continue
        if rows and (len(rows) == _PICTURES or size + len(content) > _BYTES):
            yield rows, contents
            rows, contents, size = [], [], 0
        rows.append(row)
        contents.append(content)
        size += len(content)
    if rows:
        yield rows, contents


@functools.lru_cache
def _batch_decoder(image_size: int, at_once: int = _SERVED_AT_ONCE, files: bool = False) -> Any:
    """Builds a `tf.function` of `decode_pictures` for one size, once; all signatures of an export share it.

    Args:
        image_size: side S of the pictures.
        at_once: pictures that are decoded at the same time.
        files: whether the function takes names of files instead of their contents.
    """
    any_picture, jpeg = picture_decoder(image_size), jpeg_decoder(image_size)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def decoded(given: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        if files:
            return _mapped(lambda path: any_picture(tf.io.read_file(path)), given, image_size, at_once)
        return tf.cond(
            tf.reduce_all(is_jpeg(given)),
            lambda: _mapped(jpeg, given, image_size, at_once),
            lambda: apart(lambda given: _mapped(any_picture, given, image_size, at_once))(given),
        )

    return decoded


def _mapped(
    decode: Callable[[tf.Tensor], tf.Tensor], given: tf.Tensor, image_size: int, at_once: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes each of `given`, `at_once` in parallel, to the result of `decode_pictures`."""
    batch, shape = tf.size(given), [image_size, image_size, 3]
    # tf.data alone survives a failed decode with core ops. It drops the row, so each row carries its number.
    numbered = tf.data.Dataset.from_tensor_slices((tf.range(tf.cast(batch, tf.int64)), given))
    decoded = numbered.map(lambda row, one: (row, decode(one)), at_once, deterministic=True).ignore_errors()
    none = tf.data.Dataset.from_tensors((tf.zeros([0], tf.int64), tf.zeros([0, *shape], tf.uint8)))
    together = decoded.batch(tf.cast(tf.maximum(batch, 1), tf.int64)).concatenate(none).take(1)
    rows, pictures = together.get_single_element()
    rows = rows[:, tf.newaxis]
    pixels = tf.scatter_nd(rows, pictures, tf.cast([batch, *shape], tf.int64))
    counts = tf.scatter_nd(rows, tf.ones_like(rows[:, 0]), tf.cast([batch], tf.int64))
    return tf.ensure_shape(pixels, [None, *shape]), counts > 0
