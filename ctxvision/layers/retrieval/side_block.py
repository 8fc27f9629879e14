"""A few rows that came after the index was built; all of them are scored."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from ctxvision._branches import apart
from ctxvision.layers.retrieval.batches import Found, pick_best


class SideBlock(tf.Module):
    """A small block of rows that is searched exactly beside an index.

    Args:
        size: the number of rows that fit.
        dim: D.
    """

    def __init__(self, size: int, dim: int):
        super().__init__(name="side_block")
        self.ids = tf.Variable(tf.fill([size], -1), trainable=False, name="ids")
        self.rows = tf.Variable(tf.zeros([size, dim]), trainable=False, name="rows")

    def room_without(self, ids: np.ndarray) -> int:
        """Counts the places that are free once `ids` are dropped."""
        own = self.ids.numpy()
        return int(np.count_nonzero((own < 0) | np.isin(own, ids)))

    def held(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the rows in the block: int32 [M] ids and float32 [M, D] rows."""
        ids = self.ids.numpy()
        return ids[ids >= 0], self.rows.numpy()[ids >= 0]

    def put(self, ids: np.ndarray, rows: np.ndarray) -> None:
        """Adds rows, float32 [M, D]; there must be room."""
        free = np.flatnonzero(self.ids.numpy() < 0)[: len(ids)]
        self.rows.scatter_update(tf.IndexedSlices(tf.constant(rows, tf.float32), free))
        self.ids.scatter_update(tf.IndexedSlices(tf.constant(ids, tf.int32), free))

    def drop(self, ids: np.ndarray) -> None:
        """Drops rows from the block."""
        places = np.flatnonzero(np.isin(self.ids.numpy(), ids))
        self.ids.scatter_update(tf.IndexedSlices(tf.fill([len(places)], -1), places))

    def join(
        self, found: Found, queries: tf.Tensor, k: int, admits: Callable[[tf.Tensor], tf.Tensor] | None = None
    ) -> Found:
        """Joins the results of an index, scores and ids [B, k], with the rows of the block, and picks the best k."""
        own = tf.convert_to_tensor(self.ids)

        @apart
        def joined(found: Found, queries: tf.Tensor) -> Found:
            there = own >= 0 if admits is None else admits(own)
            scores = tf.where(there, tf.matmul(queries, self.rows, transpose_b=True), -tf.float32.max)
            # A row that moves into the index is in both for a while; it then counts only once.
            twice = tf.reduce_any(tf.equal(found[1][:, :, tf.newaxis], own), axis=1)
            scores = tf.where(twice, -tf.float32.max, scores)
            ids = tf.where(there & ~twice, own, -1)
            return pick_best(tf.concat([found[0], scores], axis=1), tf.concat([found[1], ids], axis=1), k)

        scores, ids = tf.cond(tf.reduce_any(own >= 0), lambda: joined(found, queries), lambda: found)
        # TensorFlow's optimizer does not see into `apart` branches, and warns if their shapes are unknown.
        shape = [queries.shape[0], k]
        return tf.ensure_shape(scores, shape), tf.ensure_shape(ids, shape)
