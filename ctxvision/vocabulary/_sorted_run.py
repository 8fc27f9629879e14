"""Rows of sums on disk, sorted by phrase, and a merge of several such files."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np


class RunRows(NamedTuple):
    """Some rows of a sorted run.

    Attributes:
        phrases: B phrases in UTF-8.
        languages: int64 [B], numbers of languages.
        sums: int64 [B, D + 1], see `_fixed_point`.
    """

    phrases: list[bytes]
    languages: np.ndarray
    sums: np.ndarray


class SortedRun(Sequence[bytes]):
    """A sequence of phrases with their rows in two files; only requested rows are read.

    Files are opened for each read, because a merge of a thousand runs would exceed the limit of open files. Files are
    not mapped, because pages of mapped files count as the process's memory.

    Args:
        path: the new folder of the run.
        blocks: the rows in ascending order of their phrases, a few at a time.
    """

    def __init__(self, path: Path, blocks: Iterable[RunRows]):
        path.mkdir()
        self._phrases, self._rows = path / "phrases", path / "rows"
        self._length, self._width, end = 0, 0, 0
        with open(self._phrases, "wb") as phrases, open(self._rows, "wb") as rows:
            for block in blocks:
                ends = end + np.cumsum([len(phrase) for phrase in block.phrases], dtype=np.int64)
                table = np.column_stack([ends, block.languages, block.sums])
                phrases.write(b"".join(block.phrases))
                rows.write(table.data)
                self._length, self._width, end = self._length + len(table), table.shape[1], int(ends[-1])

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, row):  # type: ignore[no-untyped-def]
        if isinstance(row, slice):
            return [self[i] for i in range(*row.indices(len(self)))]
        return self.read(row, row + 1).phrases[0]

    def read(self, start: int, stop: int) -> RunRows:
        """Reads the rows start..stop - 1."""
        before = min(start, 1)  # the row before tells where the first phrase begins
        count, offset = (stop - start + before) * self._width, (start - before) * self._width * 8
        table: np.ndarray = np.fromfile(self._rows, np.int64, count, offset=offset).reshape(-1, self._width)
        first = int(table[0, 0]) if before else 0
        table = table[before:]
        ends = (table[:, 0] - first).tolist()
        data = np.fromfile(self._phrases, np.uint8, ends[-1] if ends else 0, offset=first).tobytes()
        phrases = [data[a:b] for a, b in zip([0, *ends], ends)]
        return RunRows(phrases, table[:, 1], table[:, 2:])


def ranges(runs: Sequence[SortedRun], rows: int) -> Iterator[list[RunRows]]:
    """Reads several sorted runs in parallel, one range of phrases at a time.

    Args:
        runs: any number of runs.
        rows: the approximate number of rows of all runs in a range; a phrase with more rows exceeds it.

    Yields:
        The rows of each run in a range. Ranges ascend and do not overlap.
    """
    # Fewer than `step` rows of each run lie between two neighbours in the sorted samples of all runs, and len(runs)
    # samples lie between two splitters: fewer than 2 * len(runs) * step rows per range.
    step = max(1, rows // (2 * len(runs)))
    samples = sorted(phrase for run in runs for phrase in run[step::step])
    splitters = dict.fromkeys(samples[len(runs) :: len(runs)])
    starts = [0] * len(runs)
    for splitter in [*splitters, None]:
        stops = [
            len(run) if splitter is None else bisect_left(run, splitter, lo) for run, lo in zip(runs, starts)
        ]
        parts = [run.read(start, stop) for run, start, stop in zip(runs, starts, stops) if start < stop]
        if parts:
            yield parts
        starts = stops
