"""Prototypes as they are ranked: shortened where few pictures are behind them."""

import mmap

import numpy as np


class SupportedRows:
    """Rows of a table times n / (n + support), n the pictures behind each; read like the array itself.

    Of a table that is memory-mapped to be read, what was read does not stay in the process's memory.

    A picture's score is then its product with the mean of n copies of the row and `support` pictures at right angles to
    it, not normalised again: the mean of few pictures, which by chance lies near some picture, does not outrank that
    of many.

    Args:
        prototypes: float [N, D], L2-normalised; may be memory-mapped.
        counts: int [N].
        support: 0 or more; 0 leaves rows as they are.
        pinned: bool [N], rows that are left as they are in any case; None: none.
        dtype: in which rows are given, "float32" or "float16"; that of the prototypes by default.
    """

    def __init__(
        self,
        prototypes: np.ndarray,
        counts: np.ndarray,
        support: float,
        pinned: np.ndarray | None = None,
        dtype: str | None = None,
    ):
        if not support >= 0:
            raise ValueError(f"support must be 0 or more, got {support}: 0 leaves cosines as they are.")
        self._prototypes, self._counts, self._support, self._pinned = prototypes, counts, support, pinned
        self.shape, self.dtype = prototypes.shape, np.dtype(dtype or prototypes.dtype)
        mapped = isinstance(prototypes, np.memmap) and prototypes.mode == "r"
        self._mapped = prototypes.base if mapped and isinstance(prototypes.base, mmap.mmap) else None

    def __getitem__(self, ids: np.ndarray) -> np.ndarray:
        """[M, D] of int [M] ids."""
        rows = np.asarray(self._prototypes[ids])
        if self._mapped:
            self._mapped.madvise(mmap.MADV_DONTNEED)  # it stays in the system's cache
        if not self._support:
            return rows.astype(self.dtype, copy=False)
        counts = np.asarray(self._counts[ids], np.float32)[:, np.newaxis]
        factors = counts / (counts + self._support)
        if self._pinned is not None:
            factors[np.asarray(self._pinned[ids])] = 1.0
        return (rows * factors).astype(self.dtype)


Rows = np.ndarray | SupportedRows
