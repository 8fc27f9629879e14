"""Stores many phrases in two arrays."""

from collections.abc import Iterator, Sequence

import numpy as np

# Rows that are decoded or compared at once.
PART = 1 << 16


class PackedPhrases(Sequence[str]):
    """A sequence of UTF-8 phrases in one array of bytes; each phrase is decoded when it is read.

    Args:
        data: uint8 [B], the bytes of all phrases.
        ends: int64 [N], the end of each phrase in `data`.

    Example:
        >>> phrases = PackedPhrases.of([b"red car", b"blue car"])
        >>> phrases[1], phrases.ends.tolist()
        ('blue car', [7, 15])
    """

    def __init__(self, data: np.ndarray, ends: np.ndarray):
        # Plain views of the same memory, because slicing a memmap is slow.
        self.data, self.ends = np.asarray(data), np.asarray(ends)

    @classmethod
    def of(cls, encoded: Sequence[bytes]) -> "PackedPhrases":
        """Packs phrases that are already encoded as UTF-8."""
        lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
        return cls(np.frombuffer(b"".join(encoded), np.uint8), np.cumsum(lengths))

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, row):  # type: ignore[no-untyped-def]
        if isinstance(row, slice):
            start, stop, step = row.indices(len(self))
            return self._decoded(start, stop) if step == 1 else [self[i] for i in range(start, stop, step)]
        if not -len(self) <= row < len(self):
            raise IndexError(row)
        row = int(row) % len(self)
        return self._decoded(row, row + 1)[0]

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), PART):
            yield from self._decoded(start, min(start + PART, len(self)))

    def take(self, rows: np.ndarray) -> "PackedPhrases":
        """Packs the phrases of these rows, int [M], into new arrays in memory."""
        starts, lengths = self._spans(rows)
        parts = [slice(start, start + PART) for start in range(0, len(rows), PART)]
        data = [self.data[_positions(starts[part], lengths[part])] for part in parts]
        return PackedPhrases(np.concatenate([np.empty(0, np.uint8), *data]), np.cumsum(lengths))

    def same(self, rows: np.ndarray, others: "PackedPhrases", other_rows: np.ndarray) -> np.ndarray:
        """Compares phrases of `rows`, int [M], with those of `other_rows` in `others`: bool [M]; none may be empty."""
        starts, lengths = self._spans(rows)
        other_starts, other_lengths = others._spans(other_rows)
        same = lengths == other_lengths
        if same.any():
            sizes = lengths[same]
            equal = (
                self.data[_positions(starts[same], sizes)]
                == others.data[_positions(other_starts[same], sizes)]
            )
            same[same] = np.logical_and.reduceat(equal, np.cumsum(sizes) - sizes)
        return same

    def _decoded(self, start: int, stop: int) -> list[str]:
        """Decodes the phrases of rows start..stop - 1."""
        ends = self.ends[start:stop].tolist()
        first = int(self.ends[start - 1]) if start else 0
        data = self.data[first : ends[-1] if ends else first].tobytes()
        return [data[a - first : b - first].decode() for a, b in zip([first, *ends], ends)]

    def _spans(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Finds start and length, in bytes, of the phrases of these rows."""
        starts = np.where(rows > 0, self.ends[np.maximum(rows, 1) - 1], 0)
        return starts, self.ends[rows] - starts


def _positions(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Lists the positions of all bytes of spans, one span after another."""
    ends = np.cumsum(lengths)
    return np.repeat(starts - (ends - lengths), lengths) + np.arange(ends[-1] if len(ends) else 0)
