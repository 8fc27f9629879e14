"""Finds the nearest centroid of rows, among all centroids or only among those in near cells."""

import numpy as np
import tensorflow as tf

# Centroids in a block, and products of rows with them at once. They stay in the processor's cache: with 54,000 centroids the
# search takes three quarters of the time.
_CENTROIDS_AT_A_TIME = 1024
_PRODUCTS_AT_A_TIME = 1 << 21
# Number of centroids in a group; see `_best`.
_GROUP = 32
_CELLS_PROBED = 32
_ROWS_IN_CELLS_AT_A_TIME = 1 << 17


class NearestCentroid:
    """Compares each row with all centroids.

    Args:
        centroids: float32 [C, D].
    """

    def __init__(self, centroids: np.ndarray):
        # Pads to whole blocks with the first centroid; the first of equal centroids is found.
        size = -(-len(centroids) // -(-len(centroids) // _CENTROIDS_AT_A_TIME))
        size += -size % _GROUP
        self._choices = np.pad(np.arange(len(centroids)), (0, -len(centroids) % size))
        self._blocks = tf.constant(centroids[self._choices].reshape(-1, size, centroids.shape[1]))
        self.rows_at_a_time = _PRODUCTS_AT_A_TIME // size

    def __call__(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the nearest centroid of rows float32 [N, D], int [N], and its cosine, float32 [N]."""
        best, closeness = _best(tf.constant(rows), self._blocks)
        return self._choices[best], closeness.numpy()


class NearestInCells:
    """Compares each row with the centroids in its nearest cells.

    With √C cells of √C centroids, the cost of a row grows with √C and not with C. The centroid that is found is not always
    the nearest one.

    Args:
        centroids: float32 [C, D].
        cells: float32 [M, D]; a centroid belongs to its nearest cell.
    """

    rows_at_a_time = _ROWS_IN_CELLS_AT_A_TIME

    def __init__(self, centroids: np.ndarray, cells: np.ndarray):
        self._cells, self._probed = tf.constant(cells), min(_CELLS_PROBED, len(cells))
        cell = NearestCentroid(cells)(centroids)[0]
        members = [np.flatnonzero(cell == number) for number in range(len(cells))]
        self._members = [(own, NearestCentroid(centroids[own]) if len(own) else None) for own in members]

    def __call__(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns a near centroid of rows float32 [N, D], int [N], and its cosine, float32 [N]."""
        probed = _nearest_cells(tf.constant(rows), self._cells, tf.constant(self._probed)).numpy()
        best, closeness = np.zeros(probed.size, np.int64), np.full(probed.size, -2, np.float32)
        # NumPy sorts 16-bit integers by radix.
        order = np.argsort(probed.astype(np.uint16), axis=None, kind="stable")
        ends = np.cumsum(np.bincount(probed.ravel(), minlength=len(self._members)))
        parts = np.split(order, ends[:-1])
        for own, (members, nearest) in zip(parts, self._members, strict=True):
            if len(own) and nearest is not None:
                places, closeness[own] = nearest(rows[own // self._probed])
                best[own] = members[places]
        best, closeness = best.reshape(probed.shape), closeness.reshape(probed.shape)
        first = np.arange(len(rows)), closeness.argmax(axis=1)
        return best[first], closeness[first]


@tf.function(reduce_retracing=True, autograph=False)
def _nearest_cells(rows: tf.Tensor, cells: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
    return tf.math.top_k(tf.matmul(rows, cells, transpose_b=True), number, sorted=False)[1]


@tf.function(reduce_retracing=True, autograph=False)
def _best(rows: tf.Tensor, blocks: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Finds for rows [N, D] the nearest centroid, int32 [N], in blocks [B, M, D] of centroids, and its cosine."""

    # Finds the best group, then its best member: a maximum is much faster than an argmax over all centroids.
    def within(block: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        products = tf.matmul(rows, block, transpose_b=True)
        grouped = tf.reshape(products, [tf.shape(rows)[0], -1, _GROUP])
        maxima = tf.reduce_max(grouped, axis=2)
        group = tf.argmax(maxima, axis=1, output_type=tf.int32)
        member = tf.argmax(tf.gather(grouped, group, batch_dims=1), axis=1, output_type=tf.int32)
        return group * _GROUP + member, tf.reduce_max(maxima, axis=1)

    places, closeness = tf.map_fn(
        within, blocks, parallel_iterations=1, fn_output_signature=(tf.int32, tf.float32)
    )
    block = tf.argmax(closeness, axis=0, output_type=tf.int32)
    place = tf.gather(tf.transpose(places), block, batch_dims=1)
    return block * tf.shape(blocks)[1] + place, tf.reduce_max(closeness, axis=0)
