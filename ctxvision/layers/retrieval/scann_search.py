"""Approximate search with ScaNN, through TFRS."""

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import tensorflow as tf
from scann.scann_ops.py import scann_ops

from ctxvision._branches import apart
from ctxvision._tfrs import load_tfrs
from ctxvision.layers.retrieval.arguments import check_setting
from ctxvision.layers.retrieval.batches import Found, in_chunks, pick_best
from ctxvision.layers.retrieval.scann_index import build_index
from ctxvision.layers.retrieval.supported_rows import Rows

tfrs = load_tfrs()

_MOST_SCORES = 1 << 26
# ScaNN scores 16 rows (4-bit codes for 2 dimensions) with one instruction, in the time of one centroid.
_ROWS_PER_CENTROID = 16


class ScannSearch(tf.Module):
    """Searches with ScaNN's tree, anisotropic codes and exact re-ranking.

    The module holds the rows once. Each function that has searched, such as a signature of an export, holds them once
    more, because ScaNN's searcher copies them.

    Args:
        prototypes: float [rows of the table, D], L2-normalised; may be memory-mapped.
        ids: int32 [N], the rows of the table that may be found; at least 1,000.
        num_lists: the number of partitions, ScaNN's leaves; None means `default_leaves(N)`.
        probes: the number of partitions that are read for each query; None means a quarter of them, at least 40.
        depth: the number of rows that are re-ranked exactly, and the most that are found without a pass over all rows.
    """

    def __init__(
        self,
        prototypes: Rows,
        ids: np.ndarray,
        num_lists: int | None = None,
        probes: int | None = None,
        depth: int = 300,
    ):
        super().__init__(name="scann_search")
        self.num_lists = default_leaves(len(ids)) if num_lists is None else num_lists
        check_setting("num_lists", self.num_lists, len(ids))
        check_setting("depth", depth)
        self.probes = min(self.num_lists, probes or max(40, self.num_lists // 4))
        self.depth = min(depth, len(ids))
        self.ids = tf.Variable(ids, trainable=False, dtype=tf.int32, name="ids")
        self._scann = tfrs.layers.factorized_top_k.ScaNN(k=self.depth)
        # TFRS' own `_build_searcher` would take several copies of the rows.
        self._scann._build_searcher = lambda rows: SimpleNamespace(
            serialize_to_module=lambda: build_index(rows, ids, self.num_lists, self.probes, self.depth)
        )
        # ScaNN would store its index in trainable variables.
        with tf.variable_creator_scope(_untrainable):
            self._scann.index(prototypes)
        # ScaNN's own rows serve exact search without a copy.
        self.rows = self._scann._serialized_searcher.dataset
        # Saving needs this function traced; calling it would create a searcher.
        self._scann._serialized_searcher.recreate_handle.get_concrete_function()

    def search(
        self, queries: tf.Tensor, k: int, admits: Callable[[tf.Tensor], tf.Tensor] | None = None
    ) -> Found:
        """Finds the best rows: scores float32 and ids int32, both [B, k]; id -1 if no rows are left.

        If a filter or dropped rows leave fewer than k of the `depth` rows that ScaNN finds, all rows are scored.

        Args:
            queries: float32 [B, D], L2-normalised.
            k: at most N.
            admits: maps ids to whether they may be found; None allows all.
        """
        if queries.shape[0]:
            return self._search(queries, k, admits)
        # ScaNN fails on an empty batch.
        nothing = tf.zeros([0, k]), tf.zeros([0, k], tf.int32)
        return tf.cond(tf.shape(queries)[0] > 0, lambda: self._search(queries, k, admits), lambda: nothing)

    def _search(self, queries: tf.Tensor, k: int, admits: Callable[[tf.Tensor], tf.Tensor] | None) -> Found:
        depth = self.depth if admits is not None or k > self.depth else k

        def asked(queries: tf.Tensor, depth: int) -> Found:
            searcher = scann_ops.searcher_from_module(self._scann._serialized_searcher)
            places, scores = searcher.search_batched(queries, depth, self.depth, self.probes)
            # ScaNN marks places that it could not fill with NaN, and omits columns that are empty in every row.
            missing = [[0, 0], [0, max(depth, k) - tf.shape(scores)[1]]]
            scores = tf.pad(scores, missing, constant_values=float("nan"))
            ids = tf.gather(self.ids, tf.pad(places, missing))
            ids = tf.ensure_shape(
                tf.where(tf.math.is_nan(scores), -1, ids), [queries.shape[0], max(depth, k)]
            )
            there = ids >= 0 if admits is None else admits(ids)
            return pick_best(tf.where(there, scores, -tf.float32.max), tf.where(there, ids, -1), k)

        @apart
        def all_rows(queries: tf.Tensor) -> Found:
            return in_chunks(self._exact(k, admits), queries, k, max(1, _MOST_SCORES // self.ids.shape[0]))

        @apart
        def more(queries: tf.Tensor) -> Found:
            found = asked(queries, self.depth)
            return tf.cond(tf.reduce_all(found[1] >= 0), lambda: found, lambda: all_rows(queries))

        found = asked(queries, depth)
        further = all_rows if depth == self.depth else more
        return tf.cond(tf.reduce_all(found[1] >= 0), lambda: found, lambda: further(queries))

    def fewest_probes(self, k: int) -> int:
        """Returns the first number of partitions to measure in `tune`."""
        return 1

    def compared_rows(self, probes: int) -> float:
        """Computes the cost of reading so many partitions, in comparisons of a query with a centroid."""
        return probes * self.ids.shape[0] / self.num_lists / _ROWS_PER_CENTROID

    def _exact(self, k: int, admits: Callable[[tf.Tensor], tf.Tensor] | None) -> Callable[[tf.Tensor], Found]:
        def search(queries: tf.Tensor) -> Found:
            ids = tf.convert_to_tensor(self.ids)
            there = ids >= 0 if admits is None else admits(ids)
            scores = tf.where(there, tf.matmul(queries, self.rows, transpose_b=True), -tf.float32.max)
            return pick_best(scores, tf.where(there, ids, -1), k)

        return search

    def drop(self, ids: np.ndarray) -> None:
        """Drops rows: ScaNN still finds them, but they are no longer returned."""
        places = np.flatnonzero(np.isin(self.ids.numpy(), ids))
        self.ids.scatter_update(tf.IndexedSlices(tf.fill([len(places)], -1), places))


def default_leaves(num_rows: int) -> int:
    """Computes about √N leaves, as ScaNN recommends."""
    return max(1, round(math.sqrt(num_rows)))


def _untrainable(create: Any, **arguments: Any) -> tf.Variable:
    return create(**{**arguments, "trainable": False})
