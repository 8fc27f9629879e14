"""Assigns rows to lists of similar rows by spherical k-means, with a limited capacity per list."""

import numpy as np
import tensorflow as tf

from ctxvision.layers.retrieval.supported_rows import Rows

ITERATIONS = 10
SAMPLE_PER_LIST = 64
_MOST_SAMPLED = 1 << 21
# Rows and centroids that are compared at once. Their products stay in the processor's cache: with 54,000 centroids the search
# takes three quarters of the time.
_ROWS_AT_A_TIME = 2048
_CENTROIDS_AT_A_TIME = 1024
# Number of centroids in a group; see `_best`.
_GROUP = 32


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
    lists, closeness = _nearest(prototypes, ids, centroids)
    return centroids, _within_capacity(prototypes, ids, centroids, lists, closeness, capacity)


def _k_means(sample: np.ndarray, num_lists: int, random: np.random.Generator) -> np.ndarray:
    everything = np.arange(len(sample))
    centroids = sample[random.choice(len(sample), num_lists, replace=False)]
    for _ in range(ITERATIONS):
        lists, closeness = _nearest(sample, everything, centroids)
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
    prototypes: Rows, ids: np.ndarray, centroids: np.ndarray, room: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Finds the nearest centroid of each row among those with room, int32 [N], and its cosine, float32 [N]."""
    lists, closeness = np.empty(len(ids), np.int32), np.empty(len(ids), np.float32)
    open_lists = np.arange(len(centroids)) if room is None else np.flatnonzero(room)
    # Pads to whole blocks with the first centroid; the first of equal centroids is found.
    size = -(-len(open_lists) // -(-len(open_lists) // _CENTROIDS_AT_A_TIME))
    size += -size % _GROUP
    choices = np.pad(open_lists, (0, -len(open_lists) % size), constant_values=open_lists[0])
    blocks = tf.constant(centroids[choices].reshape(-1, size, centroids.shape[1]))
    for start in range(0, len(ids), _ROWS_AT_A_TIME):
        part = slice(start, start + _ROWS_AT_A_TIME)
        best, closeness[part] = _best(tf.constant(prototypes[ids[part]], tf.float32), blocks)
        lists[part] = choices[best]
    return lists, closeness


@tf.function(reduce_retracing=True, autograph=False)
def _best(rows: tf.Tensor, blocks: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Finds for rows [N, D] the nearest centroid, int32 [N], in blocks [B, M, D] of centroids, and its cosine."""

    # Finds the best group, then its best member: a maximum is much faster than an argmax over all centroids.
    def groups(block: tf.Tensor) -> tf.Tensor:
        products = tf.matmul(rows, block, transpose_b=True)
        return tf.reduce_max(tf.reshape(products, [tf.shape(rows)[0], -1, _GROUP]), axis=2)

    best = tf.map_fn(groups, blocks, parallel_iterations=1)
    best = tf.reshape(tf.transpose(best, [1, 0, 2]), [tf.shape(rows)[0], -1])
    group = tf.argmax(best, axis=1, output_type=tf.int32)
    members = tf.gather(tf.reshape(blocks, [-1, _GROUP, tf.shape(rows)[1]]), group)
    within = tf.argmax(tf.linalg.matvec(members, rows), axis=1, output_type=tf.int32)
    return group * _GROUP + within, tf.reduce_max(best, axis=1)


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
        lists[moving], closeness[moving] = _nearest(prototypes, ids[moving], centroids, room=sizes < capacity)


def _places(lists: np.ndarray, closeness: np.ndarray, num_lists: int) -> np.ndarray:
    """Ranks the rows within their lists, nearest to the centroid first, int [N]."""
    order = np.lexsort((-closeness, lists))
    sizes = np.bincount(lists, minlength=num_lists)
    ranks = np.empty(len(lists), np.int64)
    ranks[order] = np.arange(len(lists)) - (np.cumsum(sizes) - sizes)[lists[order]]
    return ranks
