"""Columns of a table as arrays, as `.npy` files, and as streams of blocks."""

import itertools
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ctxvision._mapped import release
from ctxvision.vocabulary.packed_phrases import PackedPhrases

BLOCK_BYTES = 8 << 20


class Contents(NamedTuple):
    """The contents of a table.

    Attributes:
        columns: `phrases`, `phrase_ends`, `hashes`, `hash_rows`, `prototypes`, `counts`, `language_ids`, `live`,
            `flag_<name>` for each flag, and optionally `ngrams` or `text_embeddings`.
        language_codes: the languages that `language_ids` number.
        hash_buckets: the number of hash buckets of the n-grams, or None.
    """

    columns: dict[str, np.ndarray]
    language_codes: list[str]
    hash_buckets: int | None = None

    @property
    def phrases(self) -> PackedPhrases:
        return PackedPhrases(self.columns["phrases"], self.columns["phrase_ends"])


class Growth(NamedTuple):
    """What distinguishes a column from an older one, whose rows keep their numbers.

    Attributes:
        at: int [K], ascending: the old rows that change.
        values: computes their new values.
        tail: yields the rows that follow the old ones, in blocks.
    """

    at: np.ndarray
    values: Callable[[], np.ndarray]
    tail: Callable[[], Iterable[np.ndarray]]


class Stream(NamedTuple):
    """A column as blocks that are not yet written, and as growth of an older column if it is that."""

    dtype: np.dtype
    shape: tuple[int, ...]
    blocks: Iterable[np.ndarray]
    growth: Growth | None = None

    def collect(self) -> np.ndarray:
        """Makes the column in memory."""
        column, start = np.empty(self.shape, self.dtype), 0
        for block in self.blocks:
            column[start : start + len(block)] = block
            start += len(block)
        return column


class ColumnFile:
    """A `.npy` file that grows by `append`; `close` writes the final number of rows into its header.

    Args:
        path: the file.
        dtype, row_shape: dtype of the column, and shape of a row.
        rows: 0 for a new file, or the number of rows that an existing file keeps.
    """

    def __init__(self, path: Path, dtype: np.dtype, row_shape: tuple[int, ...], rows: int = 0):
        self.dtype, self.row_shape, self.rows = dtype, row_shape, rows
        self._file = open(path, "r+b" if rows else "wb")  # noqa: SIM115  (closed by `close`)
        self._write_header()
        self._file.seek(rows * dtype.itemsize * math.prod(row_shape), os.SEEK_CUR)

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
        # NumPy pads the header so that the first axis can grow without changing the header's length.
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
    """Makes a hard link to a file that never changes, or a copy if the file system has no hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


# === Blocks of a column ===


def blocks(column: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yields (first row, rows) over a column, and keeps at most one block of a mapped file in memory."""
    size = block_rows(column)
    for start in range(0, len(column), size):
        yield start, column[start : start + size]
        release(column)


def block_rows(column: np.ndarray) -> int:
    """Computes the number of rows in a block."""
    return max(1, BLOCK_BYTES // max(1, column.dtype.itemsize * int(np.prod(column.shape[1:]))))


def whole(column: np.ndarray) -> Stream:
    """Streams a column unchanged."""
    return Stream(column.dtype, column.shape, (block for _, block in blocks(column)))


def extended(column: np.ndarray, tail: np.ndarray) -> Stream:
    """Streams a column followed by `tail`."""
    shape = (len(column) + len(tail), *column.shape[1:])
    growth = Growth(np.zeros(0, np.int64), lambda: tail[:0], lambda: [tail])
    return Stream(
        column.dtype, shape, itertools.chain((block for _, block in blocks(column)), [tail]), growth
    )


def gathered(column: np.ndarray, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Yields the rows `rows`, int [M], of a column in blocks."""
    size = block_rows(column)
    for start in range(0, len(rows), size):
        yield column[rows[start : start + size]]
        release(column)


def patched(
    column: np.ndarray,
    at: np.ndarray,
    change: Callable[[np.ndarray, slice], np.ndarray],
    added: int = 0,
    tail: Callable[[], Iterable[np.ndarray]] = tuple,
) -> Stream:
    """Streams a column with some rows changed and some appended.

    Args:
        column: [N, ...].
        at: int [K], ascending: the rows that change.
        change: computes new values from the old ones and their slice of `at`.
        added: the number of rows in `tail`.
        tail: yields the rows to append, in blocks.
    """

    def stream() -> Iterator[np.ndarray]:
        for start, block in blocks(column):
            part = _between(at, start, start + len(block))
            if part.start < part.stop:
                rows, block = at[part] - start, np.array(block)
                block[rows] = change(block[rows], part)
            yield block
        yield from tail()

    growth = Growth(at, lambda: change(np.array(column[at]), slice(0, len(at))), tail)
    return Stream(column.dtype, (len(column) + added, *column.shape[1:]), stream(), growth)


def inserted(column: np.ndarray, places: np.ndarray, values: np.ndarray) -> Stream:
    """Streams a column with `values` inserted before the rows `places`, int [K], ascending."""

    def stream() -> Iterator[np.ndarray]:
        for start, block in blocks(column):
            stop = start + len(block)
            # Values after the last row go into the last block.
            part = _between(places, start, stop + (stop == len(column)))
            yield np.insert(block, places[part] - start, values[part], axis=0)

    return Stream(column.dtype, (len(column) + len(values),), stream())


def kept(column: np.ndarray, mask: np.ndarray) -> Stream:
    """Streams the rows of a column where `mask`, bool [N], is set."""
    shape = (int(mask.sum()), *column.shape[1:])
    return Stream(
        column.dtype, shape, (block[mask[start : start + len(block)]] for start, block in blocks(column))
    )


def kept_bytes(data: np.ndarray, ends: np.ndarray, mask: np.ndarray) -> Stream:
    """Streams the bytes of the phrases where `mask`, bool [N], is set."""
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
    """Finds the slice of `rows`, ascending, with values in start..stop - 1."""
    # The bounds have the dtype of `rows`, so that NumPy does not copy all rows.
    return slice(*np.searchsorted(rows, np.array([start, stop], rows.dtype)).tolist())
