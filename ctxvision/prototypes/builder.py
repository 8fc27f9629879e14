"""Prototypes: the mean embedding of each query's pictures (Eq. 2)."""

import numpy as np
from numpy.typing import ArrayLike

from ctxvision.errors import InputError


def build_prototypes(
    embeddings: ArrayLike, pair_picture: ArrayLike, pair_query: ArrayLike, num_queries: int
) -> tuple[np.ndarray, np.ndarray]:
    """Averages the L2-normalised embeddings of each query's pictures, in float64, and normalises the mean.

    Args:
        embeddings: [N, D] of the pictures, any length above 0.
        pair_picture: int [P], the picture of each (picture, query) pair.
        pair_query: int [P], its query, below `num_queries`.
        num_queries: Q.

    Returns:
        float32 [Q, D] prototypes, L2-normalised, and int64 [Q] pictures behind each. A query without pictures, or
        whose pictures cancel each other out, has count 0 and a row of zeros, for the caller to leave out.

    Raises:
        InputError: an embedding is zero or not finite (its picture is named), or the pairs do not fit.

    Example:
        >>> prototypes, counts = build_prototypes([[3.0, 0.0], [0.0, 5.0]], [0, 0, 1], [0, 1, 1], num_queries=2)
        >>> prototypes.round(3).tolist(), counts.tolist()
        ([[1.0, 0.0], [0.707, 0.707]], [1, 2])
    """
    rows = np.asarray(embeddings, np.float64)
    if rows.ndim != 2:
        raise InputError(
            f"embeddings must have shape [N, D], got {list(rows.shape)}: give a row for each picture."
        )
    pictures, queries = (
        _ids("pair_picture", pair_picture, len(rows)),
        _ids("pair_query", pair_query, num_queries),
    )
    if len(pictures) != len(queries):
        raise InputError(
            f"pair_picture and pair_query must have one length, got {len(pictures)} and {len(queries)}: align them."
        )
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    bad = np.flatnonzero(~np.isfinite(norms[:, 0]) | (norms[:, 0] == 0))
    if len(bad):
        raise InputError(
            f"embeddings must be finite and not zero, got picture {bad[0]} and {len(bad) - 1} more: leave them out."
        )
    unit = rows / norms
    # By column, so that no array of P × D is needed.
    sums = np.stack([np.bincount(queries, column[pictures], num_queries) for column in unit.T], axis=1)
    counts = np.bincount(queries, minlength=num_queries)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    # What rounding leaves of a sum of opposites is no direction.
    directed = lengths > 1e-9 * counts[:, None]
    prototypes = np.divide(sums, lengths, out=np.zeros_like(sums), where=directed)
    return prototypes.astype(np.float32), np.where(directed[:, 0], counts, 0).astype(np.int64)


def _ids(name: str, values: ArrayLike, limit: int) -> np.ndarray:
    ids = np.asarray(values, np.int64)
    bad = np.flatnonzero((ids < 0) | (ids >= limit))
    if len(bad):
        raise InputError(
            f"{name} must lie in 0..{limit - 1}, got {ids[bad[0]]} at pair {bad[0]}: renumber it."
        )
    return ids
