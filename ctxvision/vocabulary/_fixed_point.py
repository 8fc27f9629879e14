"""Sums of L2-normalised embeddings as integers, which do not depend on the order of addition.

A row of sums is int64 [D + 1]: D sums in multiples of 2^-36, and the number of embeddings.
"""

from collections.abc import Sequence

import numpy as np

from ctxvision.errors import InputError

SCALE = 2.0**36
# 2^27 values of 1 sum to 2^63, one more than int64 holds.
MOST_PAIRS = 2**27 - 1
# A step of this many values stays in the processor's cache.
STEP_VALUES = 1 << 19


def rows_of(queries: Sequence[str], embeddings: np.ndarray) -> np.ndarray:
    """Makes a row of sums from each single embedding.

    Args:
        queries: B, for the error message.
        embeddings: [B, D], of any length above 0.

    Returns:
        int64 [B, D + 1]; each row depends only on its embedding, to the last bit.

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
    """Adds the rows int64 [B, D + 1] to the rows `places`, int [B], of a contiguous int64 [N, D + 1]."""
    width = sums.shape[1]
    step = max(1, STEP_VALUES // width)
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        # `add.at` is several times faster on flat arrays than on rows.
        flat = (places[start : start + step, np.newaxis] * width + np.arange(width)).ravel()
        np.add.at(sums.reshape(-1), flat, part.ravel())


def prototypes_of(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Computes the L2-normalised means of rows of sums.

    Args:
        rows: int64 [N, D + 1].

    Returns:
        float64 [N, D], and bool [N]: False if the embeddings cancel out, so that the mean has no direction.
    """
    # The direction of the sum is that of the mean.
    sums = rows[:, :-1].astype(np.float64)
    norms = _lengths(sums)
    # Opposite vectors cancel to rounding noise, which has no direction.
    directed = norms[:, 0] > 1e-9 * SCALE * rows[:, -1]
    np.divide(sums, norms, out=sums, where=directed[:, np.newaxis])
    return sums, directed


def _lengths(values: np.ndarray) -> np.ndarray:
    """Computes norms, float64 [B, 1]; `sum` adds in the same order on every processor, unlike BLAS and einsum."""
    return np.sqrt((values * values).sum(axis=1, keepdims=True))
