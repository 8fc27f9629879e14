"""Scores every row by a matrix product and `top_k` (Eq. 3)."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from ctxvision.layers.retrieval.batches import in_chunks, pick_best
from ctxvision.layers.retrieval.supported_rows import Rows

# Scores in memory at once.
MOST_SCORES = 1 << 26


class ExactSearch(tf.Module):
    """Exact search over all rows.

    Args:
        prototypes: float [rows of the table, D], L2-normalised; may be memory-mapped.
        ids: int32 [N], ascending, the rows of the table that may be found.
    """

    def __init__(self, prototypes: Rows, ids: np.ndarray):
        super().__init__(name="exact_search")
        rows = np.asarray(prototypes[ids], np.float32)
        self.ids = tf.Variable(ids, trainable=False, dtype=tf.int32, name="ids")
        self.rows = tf.Variable(rows, trainable=False, name="rows")

    def search(
        self, queries: tf.Tensor, k: int, admits: Callable[[tf.Tensor], tf.Tensor] | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Finds the best rows: scores float32 and ids int32, both [B, k]; id -1 if no rows are left.

        Args:
            queries: float32 [B, D], L2-normalised.
            k: at most N.
            admits: maps ids to whether they may be found; None allows all.
        """
        chunk = max(1, MOST_SCORES // self.rows.shape[0])
        return in_chunks(lambda part: self._search(part, k, admits), queries, k, chunk)

    def _search(
        self, queries: tf.Tensor, k: int, admits: Callable[[tf.Tensor], tf.Tensor] | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        scores = tf.matmul(queries, self.rows, transpose_b=True)

        def masked() -> tuple[tf.Tensor, tf.Tensor]:
            there = self.ids >= 0 if admits is None else admits(tf.convert_to_tensor(self.ids))
            return pick_best(tf.where(there, scores, -tf.float32.max), tf.where(there, self.ids, -1), k)

        if admits is not None:
            return masked()
        found = pick_best(scores, tf.convert_to_tensor(self.ids), k)
        # Dropped rows are zeros with id -1; the mask is computed only if one of them is among the best.
        return tf.cond(tf.reduce_all(found[1] >= 0), lambda: found, masked)

    # === Change ===

    def drop(self, ids: np.ndarray) -> None:
        """Drops rows from the index."""
        positions = np.flatnonzero(np.isin(self.ids.numpy(), ids))
        self.ids.scatter_update(tf.IndexedSlices(tf.fill([len(positions)], -1), positions))
        self.rows.scatter_update(tf.IndexedSlices(tf.zeros([len(positions), self.rows.shape[1]]), positions))
