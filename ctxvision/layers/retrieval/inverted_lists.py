"""Approximate search in core ops: rows lie in lists of similar rows, and only the nearest lists are scored."""

import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from ctxvision._branches import apart
from ctxvision.layers._adopted import adopted, zeros_to_fill
from ctxvision.layers.retrieval.arguments import check_setting
from ctxvision.layers.retrieval.batches import Found, best_places, in_chunks, pick_best
from ctxvision.layers.retrieval.clustering import cluster
from ctxvision.layers.retrieval.supported_rows import Rows

# From this number of rows on, memory counts more than time: lists have fewer places, and `PrototypeRetrieval` uses float16.
MANY_ROWS = 4_000_000
_ROWS_PER_LIST = 125
# Numbers that are gathered at once.
_MOST_GATHERED = 1 << 24
_ROWS_AT_A_TIME = 1 << 17
# A later row goes only to one of this many nearest lists, because searches would rarely reach it in a farther list.
_NEAR_ENOUGH = 16


class InvertedLists(tf.Module):
    """Approximate search by an inverted file: only the rows of the nearest k-means lists are scored.

    All lists have the same length, so shapes are static and a list is gathered as one block of memory. Rows are not
    quantised: at these list lengths gathering float32 is as fast as gathering int8 and casting it, and it needs no
    second pass over the originals and less memory than codes and originals together.

    Args:
        prototypes: float32 or float16 [rows of the table, D], L2-normalised; may be memory-mapped. Lists have this
            dtype and are scored in float32.
        ids: int32 [N], the rows of the table that may be found.
        num_lists: C; None means `default_lists(N)`.
        probes: the number of lists that are scored for each query.
        seed: seed of the clustering.
    """

    def __init__(
        self,
        prototypes: Rows,
        ids: np.ndarray,
        num_lists: int | None = None,
        probes: int = 16,
        seed: int = 0,
    ):
        super().__init__(name="inverted_lists")
        default = default_lists(len(ids))
        num_lists = default if num_lists is None else num_lists
        check_setting("num_lists", num_lists, len(ids))
        check_setting("probes", probes)
        # The default number of lists gets an extra place per list. TensorFlow keeps freed memory, so an index with
        # another number of lists, which tuning builds next, fits into the memory of the first.
        places = places_per_row(len(ids)) * len(ids) / num_lists
        capacity = (
            math.ceil(places) + 1
            if num_lists == default
            else max(math.floor(places), -(-len(ids) // num_lists))
        )
        self.num_lists, self.capacity, self.num_rows = num_lists, capacity, len(ids)
        self.probes = min(probes, num_lists)
        # Clusters before allocating row storage, because both together need more memory.
        centroids, lists = cluster(prototypes, ids, num_lists, capacity, seed)
        order = np.argsort(lists, kind="stable")
        sizes = np.bincount(lists, minlength=num_lists)
        slots = np.empty(len(ids), np.int64)
        slots[order] = np.arange(len(ids)) - (np.cumsum(sizes) - sizes)[lists[order]]
        # One extra empty list pads the last window of lists.
        rows = zeros_to_fill([num_lists + 1, capacity, prototypes.shape[1]], np.dtype(prototypes.dtype).name)
        row_ids = zeros_to_fill([num_lists + 1, capacity], "int32")
        row_ids[:] = -1
        row_ids[lists, slots] = ids
        for start in range(0, len(ids), _ROWS_AT_A_TIME):
            part = slice(start, start + _ROWS_AT_A_TIME)
            rows[lists[part], slots[part]] = prototypes[ids[part]]
        self.rows, self.ids = adopted(rows, "rows"), adopted(row_ids, "ids")
        # Stored as [D, C], because a product with the transpose takes up to twice the time.
        self.centroids = tf.Variable(centroids.T, trainable=False, name="centroids")

    def _write(self, lists: np.ndarray, slots: np.ndarray, ids: np.ndarray, rows: np.ndarray) -> None:
        places = np.stack([lists, slots], axis=1)
        self.rows.scatter_nd_update(places, tf.cast(rows, self.rows.dtype))
        self.ids.scatter_nd_update(places, ids)

    # === Search ===

    def search(
        self, queries: tf.Tensor, k: int, admits: Callable[[tf.Tensor], tf.Tensor] | None = None
    ) -> Found:
        """Finds the best rows: scores float32 and ids int32, both [B, k]; id -1 if no rows are left.

        Further lists, nearest first, are scored if the probed lists have fewer than k rows, or if a filter admits less
        than half of the rows that they hold on average. So k rows are found if k exist.

        Args:
            queries: float32 [B, D], L2-normalised.
            k: at most N.
            admits: maps ids to whether they may be found; None allows all.
        """
        probes = max(self.probes, self.fewest_probes(k))
        chunk = max(1, _MOST_GATHERED // (probes * self.capacity * self.rows.shape[2]))
        return in_chunks(lambda part: self._search(part, k, probes, admits), queries, k, chunk)

    def fewest_probes(self, k: int) -> int:
        """Computes the number of lists that hold 2 k rows on average."""
        return min(self.num_lists, math.ceil(2 * k * self.num_lists / self.num_rows))

    def compared_rows(self, probes: int) -> float:
        """Computes the cost of scoring so many lists, in comparisons of a query with a centroid."""
        return probes * self.capacity

    def _search(
        self, queries: tf.Tensor, k: int, probes: int, admits: Callable[[tf.Tensor], tf.Tensor] | None
    ) -> Found:
        closeness = tf.matmul(queries, self.centroids)
        scores, ids = self._score(queries, best_places(closeness, probes)[1])
        # Empty places are zeros with id -1; masking is needed only if one of them is among the best.
        if admits is None:
            found = pick_best(scores, ids, k)
            enough = tf.reduce_all(found[1] >= 0)
        else:
            scores, ids = _masked(scores, ids, admits)
            found = pick_best(scores, ids, k)
            enough = tf.reduce_all(found[1] >= 0) & tf.reduce_all(_count(ids) >= self._usual(probes))
        go_on = apart(lambda queries, closeness: self._widened(queries, closeness, k, probes, admits))
        return tf.cond(enough, lambda: found, lambda: go_on(queries, closeness))

    def _usual(self, probes: int) -> int:
        """Computes half of the rows that so many lists hold on average."""
        return probes * self.num_rows // (2 * self.num_lists)

    def _score(self, queries: tf.Tensor, probed: tf.Tensor) -> Found:
        """Scores everything in the lists int32 [B, P]: scores and ids, both [B, P × capacity]."""
        places = probed.shape[1] * self.capacity
        batch = tf.shape(probed)[0] if probed.shape[0] is None else probed.shape[0]
        rows = tf.cast(tf.gather(self.rows, probed), tf.float32)
        dim = rows.shape[-1]

        def of_one() -> tf.Tensor:
            return tf.matmul(queries, tf.reshape(rows, [-1, dim]), transpose_b=True)

        def of_many() -> tf.Tensor:
            return tf.linalg.matvec(tf.reshape(rows, [batch, places, dim]), queries)

        # A batched product is slower than a plain one, which gives the same for a single query.
        if queries.shape[0] is None:
            scores = tf.ensure_shape(tf.cond(tf.equal(batch, 1), of_one, of_many), [None, places])
        else:
            scores = of_one() if batch == 1 else of_many()
        return scores, tf.reshape(tf.gather(self.ids, probed), [batch, places])

    def _widened(
        self,
        queries: tf.Tensor,
        closeness: tf.Tensor,
        k: int,
        probes: int,
        admits: Callable[[tf.Tensor], tf.Tensor] | None,
    ) -> Found:
        """Scores windows of lists, nearest first, until every query has seen enough admitted rows."""
        batch = tf.shape(queries)[0] if queries.shape[0] is None else queries.shape[0]
        windows = -(-self.num_lists // probes)
        _, order = tf.math.top_k(closeness, self.num_lists)
        filling = tf.fill([batch, windows * probes - self.num_lists], self.num_lists)
        order = tf.reshape(tf.concat([order, filling], axis=1), [batch, windows, probes])
        order = tf.transpose(order, [1, 0, 2])
        needed = max(k, self._usual(probes))

        def lacking(window: tf.Tensor, seen: tf.Tensor, scores: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
            return (window < windows) & tf.reduce_any(seen < needed)

        def go_on(window: tf.Tensor, seen: tf.Tensor, scores: tf.Tensor, ids: tf.Tensor) -> tuple:
            more = _masked(*self._score(queries, tf.gather(order, window)), admits)
            scores, ids = tf.concat([scores, more[0]], axis=1), tf.concat([ids, more[1]], axis=1)
            return window + 1, seen + _count(more[1]), *pick_best(scores, ids, k)

        nothing = tf.fill([batch, k], -tf.float32.max), tf.fill([batch, k], -1)
        state = (tf.constant(0), tf.zeros([batch], tf.int32), *nothing)
        _, _, scores, ids = tf.while_loop(lacking, go_on, state)
        return scores, ids

    # === Change ===

    def drop(self, ids: np.ndarray) -> None:
        """Drops rows and frees their places."""
        lists, slots = np.nonzero(np.isin(self.ids.numpy(), ids))
        nothing = np.zeros([len(lists), self.rows.shape[2]], np.float32)
        self._write(lists, slots, np.full(len(lists), -1, np.int32), nothing)

    def take_in(self, ids: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Puts rows, float32 [M, D], into free places of near lists; returns which rows found a place, bool [M]."""
        taken = self.ids.numpy()[:-1] >= 0
        room = np.count_nonzero(~taken, axis=1)
        near = self._near_lists(rows)
        lists, slots = np.full(len(ids), -1), np.full(len(ids), -1)
        for row, choices in enumerate(near):
            lists[row] = next((choice for choice in choices if room[choice]), -1)
            if lists[row] >= 0:
                room[lists[row]] -= 1
                slots[row] = np.flatnonzero(~taken[lists[row]])[0]
                taken[lists[row], slots[row]] = True
        placed = lists >= 0
        self._write(lists[placed], slots[placed], ids[placed], rows[placed])
        return placed

    def _near_lists(self, rows: np.ndarray) -> np.ndarray:
        """Finds the nearest lists of float32 [M, D] rows, int32 [M, 16], or all lists if they are fewer."""
        number, step = min(_NEAR_ENOUGH, self.num_lists), max(1, _MOST_GATHERED // self.num_lists)
        found = np.empty([len(rows), number], np.int32)
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            found[part] = best_places(tf.matmul(rows[part], self.centroids), number)[1]
        return found


def places_per_row(num_rows: int) -> float:
    """Returns the number of places in lists per row: empty places cost time, and full lists push rows to other lists.

    Of 200,000 synthetic rows, 1.2 instead of 1.5 compared a query with a tenth more rows at the same recall@3, and 1.1
    with half more.
    """
    return 1.2 if num_rows >= MANY_ROWS else 1.5


def default_lists(num_rows: int) -> int:
    """Computes 8 √N lists, which balances the cost of comparing centroids with the cost of reading rows.

    From a million rows on, it is one list for 125 rows. More centroids than rows are then compared with a query, but they
    lie in one block of memory, and a query needs far fewer rows.
    """
    return max(1, min(num_rows, max(round(8 * math.sqrt(num_rows)), num_rows // _ROWS_PER_LIST)))


def _masked(scores: tf.Tensor, ids: tf.Tensor, admits: Callable[[tf.Tensor], tf.Tensor] | None) -> Found:
    there = ids >= 0 if admits is None else admits(ids)
    return tf.where(there, scores, -tf.float32.max), tf.where(there, ids, -1)


def _count(ids: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(ids >= 0, tf.int32), axis=1)
