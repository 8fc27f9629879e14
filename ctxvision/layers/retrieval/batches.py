"""Searches batches of queries in chunks that fit in memory, and picks the best candidates."""

import math
from collections.abc import Callable

import tensorflow as tf

from ctxvision._branches import apart

Found = tuple[tf.Tensor, tf.Tensor]
# Largest and smallest number of scores in a group, and the number of scores from which grouping saves time; see `best_places`.
_GROUP, _SMALLEST_GROUP = 32, 8
_FEWEST_GROUPED = 16384


def pick_best(scores: tf.Tensor, ids: tf.Tensor, k: int) -> Found:
    """Picks the k best candidates: scores [B, k], descending, and their ids; the first of equal scores wins.

    Args:
        scores: float32 [B, M], M at least k.
        ids: int32 [B, M], or [M] if all queries have the same candidates.
        k: the number of results.
    """
    best, places = best_places(scores, k)
    return best, tf.gather(ids, places, batch_dims=ids.shape.rank - 1)


def best_places(scores: tf.Tensor, k: int) -> Found:
    """Finds the k best of float32 [B, M] scores, descending: scores and int32 places, both [B, k]; the first of equals wins.

    Of many scores, the k best are in the k groups with the largest maxima, and maxima take less time than `top_k`.
    """
    number = scores.shape[1]
    size = math.gcd(number, _GROUP)
    if size < _SMALLEST_GROUP or number < max(_FEWEST_GROUPED, 4 * k * size):
        return tf.math.top_k(scores, k)
    grouped = tf.reshape(scores, [-1, number // size, size])
    best = tf.sort(tf.math.top_k(tf.reduce_max(grouped, axis=2), k, sorted=False)[1], axis=1)
    candidates = tf.reshape(tf.gather(grouped, best, batch_dims=1), [-1, k * size])
    found, places = tf.math.top_k(candidates, k)
    groups = tf.gather(best, places // size, batch_dims=1)
    return found, groups * size + places % size


def in_chunks(search: Callable[[tf.Tensor], Found], queries: tf.Tensor, k: int, chunk: int) -> Found:
    """Applies `search`, whose results are [B, k], to float32 [B, D] queries in chunks of at most `chunk` queries."""
    batch = queries.shape[0]
    if batch is not None:
        return search(queries) if batch <= chunk else _looped(search, queries, k, chunk)
    few = tf.shape(queries)[0] <= chunk
    looped = apart(lambda queries: _looped(search, queries, k, chunk))
    return tf.cond(few, lambda: search(queries), lambda: looped(queries))


def _looped(search: Callable[[tf.Tensor], Found], queries: tf.Tensor, k: int, chunk: int) -> Found:
    batch, dim = queries.shape
    rows = tf.shape(queries)[0] if batch is None else batch
    chunks = -(-rows // chunk)
    # The last chunk is padded with an arbitrary direction, whose results are cut off.
    filling = tf.fill([chunks * chunk - rows, dim], dim**-0.5)
    parts = tf.reshape(tf.concat([queries, filling], axis=0), [chunks, chunk, dim])
    signature = (tf.TensorSpec([chunk, k]), tf.TensorSpec([chunk, k], tf.int32))
    scores, ids = tf.map_fn(search, parts, fn_output_signature=signature, parallel_iterations=1)
    return tf.reshape(scores, [-1, k])[:rows], tf.reshape(ids, [-1, k])[:rows]
