"""Computes text embeddings of many phrases in batches, and resumes after a kill."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import ArrayLike

from ctxvision.errors import InputError
from ctxvision.vocabulary.packed_phrases import PackedPhrases

Encode = Callable[[list[str]], ArrayLike]


def embed(phrases: PackedPhrases, encode: Encode, batch_size: int) -> np.ndarray:
    """Computes text embeddings float32 [N, T] in memory."""
    return np.concatenate([*_batches(phrases, encode, batch_size, 0)])


def embed_into(path: Path, phrases: PackedPhrases, encode: Encode, batch_size: int) -> tuple[int, int]:
    """Writes text embeddings float32 [N, T] to a `.npy` file, or continues the file of an interrupted call.

    The first batch is always embedded: if the file begins with other values, another encoder wrote it and the file is
    written from the start.

    Returns:
        The shape (N, T).
    """
    first = _embedded(encode, phrases[:batch_size])
    shape = (len(phrases), first.shape[1])
    start, done = _rows_done(path, shape, first)
    with open(path, "r+b" if done else "wb") as file:
        if done:
            file.truncate(start + done * 4 * shape[1])
            file.seek(0, os.SEEK_END)
        else:
            header = {"descr": "<f4", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            _append(file, first)
            done = len(first)
        for batch in _batches(phrases, encode, batch_size, done, shape[1]):
            _append(file, batch)
    return shape


def _append(file: BinaryIO, batch: np.ndarray) -> None:
    """Appends a batch and flushes it to the system, so that it survives a kill; deletes the file on an error."""
    try:
        file.write(batch.data)
        file.flush()
    except OSError:
        os.unlink(file.name)
        raise


def _rows_done(path: Path, shape: tuple[int, int], first: np.ndarray) -> tuple[int, int]:
    """Finds the offset of the rows in the file and the number of complete ones; 0, 0 if the file does not fit."""
    try:
        with open(path, "rb") as file:
            np.lib.format.read_magic(file)
            there, _, dtype = np.lib.format.read_array_header_1_0(file)
            start = file.tell()
            done = min(shape[0], (os.path.getsize(path) - start) // (4 * shape[1]))
            beginning = np.frombuffer(file.read(4 * shape[1] * min(done, len(first))), np.float32)
    except (OSError, ValueError):
        return 0, 0
    fits = there == shape and dtype == np.float32 and done >= len(first)
    # An encoder's results may differ in the last bits between processes.
    same = fits and np.allclose(beginning.reshape(first.shape), first, rtol=1e-3, atol=1e-5)
    return (start, done) if same else (0, 0)


def _batches(
    phrases: PackedPhrases, encode: Encode, size: int, start: int, dim: int | None = None
) -> Iterator[np.ndarray]:
    for first in range(start, len(phrases), size):
        batch = _embedded(encode, phrases[first : first + size], dim)
        dim = batch.shape[1]
        yield batch


def _embedded(encode: Encode, phrases: list[str], dim: int | None = None) -> np.ndarray:
    rows = np.ascontiguousarray(encode(phrases), np.float32)
    if rows.ndim != 2 or len(rows) != len(phrases) or rows.shape[1] != (dim or rows.shape[1] or -1):
        raise InputError(
            f"encode must return [{len(phrases)}, {dim or 'T'}] for {len(phrases)} phrases, got {list(rows.shape)}: "
            f"return one row per phrase."
        )
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(bad):
        raise InputError(
            f"encode must return finite rows, got {rows[bad[0]][:3].tolist()} for {phrases[bad[0]]!r}: correct encode."
        )
    return rows
