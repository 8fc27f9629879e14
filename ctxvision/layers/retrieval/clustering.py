"""Assigns rows to lists of similar rows by spherical k-means, with a limited capacity per list."""

import math

import numpy as np

from ctxvision.layers.retrieval.nearest_centroid import NearestCentroid, NearestInCells
from ctxvision.layers.retrieval.supported_rows import Rows

ITERATIONS = 10
SAMPLE_PER_LIST = 64
_MOST_SAMPLED = 1 << 24
# With more lists, k-means and the assignment of rows work in √C cells of about √C centroids each, because comparing every row
# with every centroid would take hours for tens of millions of rows.
MANY_LISTS = 16384


def cluster(
    prototypes: Rows, ids: np.ndarray, num_lists: int, capacity: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Finds centroids by spherical k-means on a sample, and assigns each row to a list.

    A row goes to its nearest centroid. If that list is full, the rows farthest from the centroid go to their nearest
    list with room, so that lists need little padding. With more than 16,384 lists, "nearest" means the nearest centroid
    in the nearest cells, see `NearestInCells`.

    Args:
        prototypes: float [rows of the table, D], L2-normalised; may be memory-mapped, since it is read in blocks.
        ids: int [N], the rows to cluster.
        num_lists: C, at most N.
        capacity: the largest number of rows in a list; C × capacity is at least N.
        seed: seed of the sample.

    Returns:
        float32 [C, D] centroids, L2-normalised, and int32 [N] list numbers.
    """
    random = np.random.default_rng(seed)
    sampled = min(len(ids), max(num_lists, min(SAMPLE_PER_LIST * num_lists, _MOST_SAMPLED)))
    chosen = np.sort(random.choice(len(ids), sampled, replace=False))
    sample = np.asarray(prototypes[ids[chosen]], np.float32)
    k_means = _k_means_in_cells if num_lists > MANY_LISTS else _k_means
    centroids = k_means(sample, num_lists, random)
    del sample
    lists, closeness = _nearest(_comparison(centroids), prototypes, ids)
    return centroids, _within_capacity(prototypes, ids, centroids, lists, closeness, capacity)


def _k_means(sample: np.ndarray, num_lists: int, random: np.random.Generator) -> np.ndarray:
    everything = np.arange(len(sample))
    centroids = sample[random.choice(len(sample), num_lists, replace=False)]
    for _ in range(ITERATIONS):
        lists, closeness = _nearest(NearestCentroid(centroids), sample, everything)
        order = np.argsort(lists, kind="stable")
        sizes = np.bincount(lists, minlength=num_lists)
        filled = np.flatnonzero(sizes)
        sums = np.add.reduceat(sample[order], (np.cumsum(sizes) - sizes)[filled], axis=0)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        # A list whose rows cancel out keeps its centroid; an empty list moves to one of the rows farthest from theirs.
        turned = lengths[:, 0] > 1e-6
        centroids[filled[turned]] = (sums / np.maximum(lengths, 1e-6))[turned]
        empty = np.flatnonzero(sizes == 0)
        if len(empty):
            centroids[empty] = sample[np.argsort(closeness, kind="stable")[: len(empty)]]
    return centroids


def _k_means_in_cells(sample: np.ndarray, num_lists: int, random: np.random.Generator) -> np.ndarray:
    """Finds centroids by k-means within each of √C cells, with the same number of rows per centroid in each."""
    cells = _cells(sample, num_lists, random)
    own, _ = _nearest(NearestCentroid(cells), sample, np.arange(len(sample)))
    ends = np.cumsum(np.bincount(own, minlength=len(cells)))
    parts = np.split(np.argsort(own, kind="stable"), ends[:-1])
    numbers = np.diff(ends * num_lists // len(sample), prepend=0)
    return np.concatenate(
        [_k_means(sample[part], number, random) for part, number in zip(parts, numbers) if number]
    )


def _cells(rows: np.ndarray, num_lists: int, random: np.random.Generator) -> np.ndarray:
    number = round(math.sqrt(num_lists))
    few = random.choice(len(rows), min(len(rows), SAMPLE_PER_LIST * number), replace=False)
    return _k_means(rows[few], number, random)


def _comparison(centroids: np.ndarray) -> NearestCentroid | NearestInCells:
    if len(centroids) <= MANY_LISTS:
        return NearestCentroid(centroids)
    return NearestInCells(centroids, _cells(centroids, len(centroids), np.random.default_rng(0)))


def _nearest(
    nearest: NearestCentroid | NearestInCells, prototypes: Rows, ids: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Finds the nearest centroid of each row, int32 [N], and its cosine, float32 [N]; reads rows in blocks."""
    lists, closeness = np.empty(len(ids), np.int32), np.empty(len(ids), np.float32)
    for start in range(0, len(ids), nearest.rows_at_a_time):
        part = slice(start, start + nearest.rows_at_a_time)
        lists[part], closeness[part] = nearest(np.asarray(prototypes[ids[part]], np.float32))
    return lists, closeness


def _within_capacity(
    prototypes: Rows,
    ids: np.ndarray,
    centroids: np.ndarray,
    lists: np.ndarray,
    closeness: np.ndarray,
    capacity: int,
) -> np.ndarray:
    sizes = np.zeros(len(centroids), np.int64)
    moving = np.arange(len(ids))
    while True:
        placed = _places(lists[moving], closeness[moving], len(centroids)) < (capacity - sizes)[lists[moving]]
        sizes += np.bincount(lists[moving[placed]], minlength=len(centroids))
        moving = moving[~placed]
        if not len(moving):
            return lists
        open_lists = np.flatnonzero(sizes < capacity)
        found, closeness[moving] = _nearest(_comparison(centroids[open_lists]), prototypes, ids[moving])
        lists[moving] = open_lists[found]


def _places(lists: np.ndarray, closeness: np.ndarray, num_lists: int) -> np.ndarray:
    """Ranks the rows within their lists, nearest to the centroid first, int [N]."""
    order = np.lexsort((-closeness, lists))
    sizes = np.bincount(lists, minlength=num_lists)
    ranks = np.empty(len(lists), np.int64)
    ranks[order] = np.arange(len(lists)) - (np.cumsum(sizes) - sizes)[lists[order]]
    return ranks
