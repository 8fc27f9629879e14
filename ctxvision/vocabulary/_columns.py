"""Columns as arrays, as `.npy` files and as streams of blocks from the one to the other."""

import itertools
import mmap
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ctxvision.vocabulary.packed_phrases import PackedPhrases

BLOCK_BYTES = 8 << 20


class Contents(NamedTuple):
    """All that a table holds."""

    # phrases, phrase_ends, hashes, hash_rows, prototypes, counts, language_ids, live, flag_<name>..., and
    # text_embeddings where there are.
    columns: dict[str, np.ndarray]
    language_codes: list[str]

    @property
    def phrases(self) -> PackedPhrases:
        return PackedPhrases(self.columns["phrases"], self.columns["phrase_ends"])


class Stream(NamedTuple):
    """A column that is yet to be written."""

    dtype: np.dtype
    shape: tuple[int, ...]
    blocks: Iterable[np.ndarray]

    def collect(self) -> np.ndarray:
        """The column in RAM."""
        column, start = np.empty(self.shape, self.dtype), 0
        for block in self.blocks:
            column[start : start + len(block)] = block
            start += len(block)
        return column


class ColumnFile:
    """A `.npy` file that grows by `append` and holds its number of rows after `close`."""

    def __init__(self, path: Path, dtype: np.dtype, row_shape: tuple[int, ...]):
        self.dtype, self.row_shape, self.rows = dtype, row_shape, 0
        self._file = open(path, "wb")  # noqa: SIM115  (closed by `close`)
        self._write_header()

    def append(self, values: np.ndarray) -> None:
        self._file.write(np.ascontiguousarray(values, self.dtype).data)
        self.rows += len(values)

    def close(self) -> None:
        try:
            self._file.seek(0)
            self._write_header()
        finally:
            self._file.close()

    def _write_header(self) -> None:
        # NumPy leaves room for the first axis to grow, so that the header's length stays.
        header = {
            "descr": np.lib.format.dtype_to_descr(self.dtype),
            "fortran_order": False,
            "shape": (self.rows, *self.row_shape),
        }
        np.lib.format.write_array_header_1_0(self._file, header)


def write(path: Path, stream: Stream) -> None:
    """Writes a stream as a `.npy` file, block by block."""
    column = ColumnFile(path, stream.dtype, stream.shape[1:])
    try:
        for block in stream.blocks:
            column.append(block)
    finally:
        column.close()


def link(source: Path, target: Path) -> None:
    """A second name for a file that never changes; a copy where the file system has no hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


# === Blocks of a column ===


def blocks(column: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(first row, rows) over a column, of which no more than a block is in memory."""
    size = block_rows(column)
    for start in range(0, len(column), size):
        yield start, column[start : start + size]
        release(column)


def release(column: np.ndarray) -> None:
    """Takes what was read of a mapped file out of the process's memory; it stays in the system's cache."""
    if isinstance(column.base, mmap.mmap):
        column.base.madvise(mmap.MADV_DONTNEED)


def block_rows(column: np.ndarray) -> int:
    """Rows of a block."""
    return max(1, BLOCK_BYTES // max(1, column.dtype.itemsize * int(np.prod(column.shape[1:]))))


def whole(column: np.ndarray) -> Stream:
    """The column as it is."""
    return Stream(column.dtype, column.shape, (block for _, block in blocks(column)))


def extended(column: np.ndarray, tail: np.ndarray) -> Stream:
    """The column and what follows it."""
    shape = (len(column) + len(tail), *column.shape[1:])
    return Stream(column.dtype, shape, itertools.chain((block for _, block in blocks(column)), [tail]))


def gathered(column: np.ndarray, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Blocks of these rows, int [M], of a column."""
    size = block_rows(column)
    for start in range(0, len(rows), size):
        yield column[rows[start : start + size]]
        release(column)


def patched(
    column: np.ndarray,
    at: np.ndarray,
    change: Callable[[np.ndarray, slice], np.ndarray],
    added: int = 0,
    tail: Iterable[np.ndarray] = (),
) -> Stream:
    """A column with some rows changed and some added.

    Args:
        column: [N, ...].
        at: int [K], rising: the rows that change.
        change: gives what they become, from what they are and which part of `at` they are.
        added: number of rows of `tail`.
        tail: blocks of rows that follow.
    """

    def stream() -> Iterator[np.ndarray]:
        for start, block in blocks(column):
            part = _between(at, start, start + len(block))
            if part.start < part.stop:
                rows, block = at[part] - start, np.array(block)
                block[rows] = change(block[rows], part)
            yield block
        yield from tail

    return Stream(column.dtype, (len(column) + added, *column.shape[1:]), stream())


def inserted(column: np.ndarray, places: np.ndarray, values: np.ndarray) -> Stream:
    """A column with `values` before the rows `places`, int [K], rising."""

    def stream() -> Iterator[np.ndarray]:
        for start, block in blocks(column):
            stop = start + len(block)
            # What comes after the last row goes with the last block.
            part = _between(places, start, stop + (stop == len(column)))
            yield np.insert(block, places[part] - start, values[part], axis=0)

    return Stream(column.dtype, (len(column) + len(values),), stream())


def kept(column: np.ndarray, mask: np.ndarray) -> Stream:
    """The rows of a column where `mask`, bool [N], is set."""
    shape = (int(mask.sum()), *column.shape[1:])
    return Stream(
        column.dtype, shape, (block[mask[start : start + len(block)]] for start, block in blocks(column))
    )


def kept_bytes(data: np.ndarray, ends: np.ndarray, mask: np.ndarray) -> Stream:
    """The bytes of the phrases where `mask`, bool [N], is set."""
    lengths = np.diff(ends, prepend=0)

    def stream() -> Iterator[np.ndarray]:
        for start, block in blocks(data):
            stop = start + len(block)
            # A phrase may begin in one block and end in the next.
            rows = slice(np.searchsorted(ends, start, "right"), np.searchsorted(ends, stop) + 1)
            stops = np.clip(ends[rows], start, stop)
            yield block[np.repeat(mask[rows], np.diff(stops, prepend=start))]

    return Stream(data.dtype, (int(lengths[mask].sum()),), stream())


def _between(rows: np.ndarray, start: int, stop: int) -> slice:
    """Which of `rows`, rising, are in start..stop - 1."""
    # In their own dtype: NumPy would copy all of them otherwise.
    return slice(*np.searchsorted(rows, np.array([start, stop], rows.dtype)).tolist())
