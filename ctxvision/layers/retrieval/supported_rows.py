"""Prototypes scaled for ranking: shorter if few pictures are behind them."""

import numpy as np

from ctxvision._mapped import release


class SupportedRows:
    """Rows of a table times n / (n + support), where n is the number of pictures behind each; indexed like an array.

    A score is then a picture's product with the mean, not normalised again, of n copies of the row and `support`
    pictures orthogonal to it. A mean of few pictures, which may be near some picture by chance, thus does not outrank a
    mean of many.

    If the table is memory-mapped read-only, pages that were read do not stay in the process's memory.

    Args:
        prototypes: float [N, D], L2-normalised; may be memory-mapped.
        counts: int [N], the number of pictures behind each row.
        support: 0 or more; 0 leaves rows unchanged.
        pinned: bool [N], rows that always stay unchanged; None means none.
        dtype: dtype of the rows, "float32" or "float16"; None means that of the prototypes.
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
            raise ValueError(f"support must be 0 or more, got {support}: use 0 for plain cosines.")
        self._prototypes, self._counts, self._support, self._pinned = prototypes, counts, support, pinned
        self.shape, self.dtype = prototypes.shape, np.dtype(dtype or prototypes.dtype)

    def __getitem__(self, ids: np.ndarray) -> np.ndarray:
        """Reads rows [M, D] by int [M] ids."""
        rows = np.asarray(self._prototypes[ids])
        release(self._prototypes)
        if not self._support:
            return rows.astype(self.dtype, copy=False)
        counts = np.asarray(self._counts[ids], np.float32)[:, np.newaxis]
        factors = counts / (counts + self._support)
        if self._pinned is not None:
            factors[np.asarray(self._pinned[ids])] = 1.0
        return (rows * factors).astype(self.dtype)


Rows = np.ndarray | SupportedRows
