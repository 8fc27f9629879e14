"""Decodes many pictures into one array."""

from collections.abc import Iterable, Sequence

import numpy as np
import tensorflow as tf

from ctxvision.data.pictures import picture_decoder

_AT_A_TIME = 1 << 16  # paths per dataset: a graph that holds a million paths is slow


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

    def encoded(start: int, end: int) -> tf.data.Dataset:
        numbered = tf.data.Dataset.from_tensor_slices(
            (np.arange(start, min(end, len(paths))), list(paths[start:end]))
        )
        return numbered.map(lambda row, path: (row, tf.io.read_file(path)), tf.data.AUTOTUNE)

    parts = (encoded(start, start + _AT_A_TIME) for start in range(0, len(paths), _AT_A_TIME))
    return _decode(parts, len(paths), image_size, out)


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
    readable = ((row, content) for row, content in encoded if content is not None)
    signature = tf.TensorSpec([], tf.int64), tf.TensorSpec([], tf.string)
    rows = tf.data.Dataset.from_generator(lambda: readable, output_signature=signature)
    return _decode([rows], number, image_size, out)


def _decode(
    parts: Iterable[tf.data.Dataset], number: int, image_size: int, out: np.ndarray | None
) -> tuple[np.ndarray, list[int]]:
    """Decodes datasets of (row, encoded picture)."""
    shape = (number, image_size, image_size, 3)
    if out is None:
        out = np.zeros(shape, np.uint8)
    if out.shape != shape or out.dtype != np.uint8:
        raise ValueError(
            f"out must be uint8 {list(shape)}, got {out.dtype} {list(out.shape)}: allocate an array of that shape."
        )
    decoded = np.zeros(number, bool)
    decode = picture_decoder(image_size)
    for part in parts:
        pictures = part.map(lambda row, content: (row, decode(content)), tf.data.AUTOTUNE, deterministic=True)
        # ignore_errors drops a failed element, so each element carries its row.
        for rows, pixels in pictures.ignore_errors().batch(256).prefetch(2).as_numpy_iterator():
            out[rows] = pixels
            decoded[rows] = True
    undecodable = np.flatnonzero(~decoded)
    out[undecodable] = 0
    return out, undecodable.tolist()
