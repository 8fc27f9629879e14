"""Sums of L2-normalised embeddings as integers, which come out the same in whatever order they are added.

A row of sums is int64 [D + 1]: D sums in multiples of 2^-36, and how many embeddings they are of.
"""

from collections.abc import Sequence

import numpy as np

from ctxvision.errors import InputError

SCALE = 2.0**36
# 2^27 values of 1 make 2^63, one more than int64 holds.
MOST_PAIRS = 2**27 - 1
# Rows of a step of this many values stay in a processor's cache.
STEP_VALUES = 1 << 19


def rows_of(queries: Sequence[str], embeddings: np.ndarray) -> np.ndarray:
    """Rows of one embedding each.

    Args:
        queries: B, to name what is wrong.
        embeddings: [B, D], any length above 0.

    Returns:
        int64 [B, D + 1]; a row depends on its embedding alone, to the last bit.

    Raises:
        InputError: an embedding is zero or not finite.
    """
    values = np.array(embeddings, np.float64, order="C")
    norms = _lengths(values)
    bad = np.flatnonzero(~np.isfinite(norms[:, 0]) | (norms[:, 0] == 0))
    if len(bad):
        shown = ", ".join(f"{value:g}" for value in values[bad[0], :3])
        raise InputError(
            f"embeddings must be finite and not zero, got [{shown}, ...] for query {queries[bad[0]]!r}: leave the pair out."
        )
    values /= norms
    values *= SCALE
    rows = np.empty((len(values), values.shape[1] + 1), np.int64)
    np.rint(values, out=values)
    rows[:, :-1] = values
    rows[:, -1] = 1
    return rows


def add_rows(sums: np.ndarray, places: np.ndarray, rows: np.ndarray) -> None:
    """Adds int64 [B, D + 1] to the rows `places`, int [B], of a contiguous int64 [N, D + 1]."""
    width = sums.shape[1]
    step = max(1, STEP_VALUES // width)
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        # Over flat arrays `add.at` is several times quicker than over rows.
        flat = (places[start : start + step, np.newaxis] * width + np.arange(width)).ravel()
        np.add.at(sums.reshape(-1), flat, part.ravel())


def prototypes_of(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Normalised means.

    Args:
        rows: int64 [N, D + 1].

    Returns:
        float64 [N, D], and bool [N]: False where the embeddings cancel out, so that the mean has no direction.
    """
    # The direction of the sum is that of the mean.
    sums = rows[:, :-1].astype(np.float64)
    norms = _lengths(sums)
    # What rounding leaves of a sum of opposites is no direction.
    directed = norms[:, 0] > 1e-9 * SCALE * rows[:, -1]
    np.divide(sums, norms, out=sums, where=directed[:, np.newaxis])
    return sums, directed


def _lengths(values: np.ndarray) -> np.ndarray:
    """float64 [B, 1] norms. Unlike BLAS and einsum, `sum` adds in one order on every processor."""
    return np.sqrt((values * values).sum(axis=1, keepdims=True))
