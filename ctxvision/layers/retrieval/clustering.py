"""Assigns rows to lists of similar rows by spherical k-means, with a limited capacity per list."""

import math

import numpy as np

from ctxvision.layers.retrieval.nearest_centroid import NearestCentroid, NearestInCells
from ctxvision.layers.retrieval.supported_rows import Rows

ITERATIONS = 10
SAMPLE_PER_LIST = 64
_MOST_SAMPLED = 1 << 22
# With more lists, each of a sample's rows is compared with the centroids in near cells only. Lists are then a little worse (a
# query needs up to 1.3 times the rows for the same recall), but far better than those of a sample small enough for all centroids.
_MANY_LISTS = 16384


def cluster(
    prototypes: Rows, ids: np.ndarray, num_lists: int, capacity: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Finds centroids by spherical k-means on a sample, and assigns each row to a list.

    A row goes to its nearest centroid. If that list is full, the rows farthest from the centroid go to their nearest
    list with room, so that lists need little padding.

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
    centroids = _k_means(sample, num_lists, random)
    del sample
    lists, closeness = _nearest(NearestCentroid(centroids), prototypes, ids)
    return centroids, _within_capacity(prototypes, ids, centroids, lists, closeness, capacity)


def _k_means(sample: np.ndarray, num_lists: int, random: np.random.Generator) -> np.ndarray:
    everything = np.arange(len(sample))
    centroids = sample[random.choice(len(sample), num_lists, replace=False)]
    for _ in range(ITERATIONS):
        if num_lists > _MANY_LISTS:
            cells = _k_means(centroids, round(math.sqrt(num_lists)), random)
            lists, closeness = _nearest(NearestInCells(centroids, cells), sample, everything)
        else:
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
        centroids[empty] = sample[np.argsort(closeness, kind="stable")[: len(empty)]]
    return centroids


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
        found, closeness[moving] = _nearest(NearestCentroid(centroids[open_lists]), prototypes, ids[moving])
        lists[moving] = open_lists[found]


def _places(lists: np.ndarray, closeness: np.ndarray, num_lists: int) -> np.ndarray:
    """Ranks the rows within their lists, nearest to the centroid first, int [N]."""
    order = np.lexsort((-closeness, lists))
    sizes = np.bincount(lists, minlength=num_lists)
    ranks = np.empty(len(lists), np.int64)
    ranks[order] = np.arange(len(lists)) - (np.cumsum(sizes) - sizes)[lists[order]]
    return ranks
