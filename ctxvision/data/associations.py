"""Query-query associations: pairs of queries that share a picture."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from ctxvision.errors import InputError


def association_batches(
    pair_picture: np.ndarray,
    pair_query: np.ndarray,
    ngram_ids: np.ndarray,
    batch_size: int,
    steps: int,
    seed: int | Sequence[int] = 0,
) -> tf.data.Dataset:
    """Draws pairs of different queries of one picture (section 3.3).

    Each pair comes from a picture drawn uniformly of those with at least two different queries, and is two of its
    queries, drawn uniformly without replacement. Step i of a seed is the same pairs, whatever happened before.

    Args:
        pair_picture: int [P], the picture of each (picture, query) of the log, in any order; repeats count once.
        pair_query: int [P], its query, a row number of `ngram_ids`.
        ngram_ids: int32 [V, M], the queries' `DualEncoderText.ngram_ids`.
        batch_size: B, pairs a step.
        steps: how many batches.
        seed: one or several numbers of 0 or more.

    Returns:
        A dataset of `steps` dicts: `left_ngrams` and `right_ngrams` int32 [B, M], `left_ids` and `right_ids`
        int32 [B].

    Raises:
        InputError: no picture has two different queries.
        ValueError: the two arrays differ in length, or name a query that `ngram_ids` has no row for.
    """
    starts, queries = _queries_of_pictures(np.asarray(pair_picture), np.asarray(pair_query), len(ngram_ids))
    starts, counts = starts[:-1], np.diff(starts)
    several = counts >= 2
    if not several.any():
        raise InputError(
            f"queries must give at least one picture two different queries, got {len(counts)} pictures and none "
            f"with two: text is learnt from queries that share a picture, so give pictures more queries."
        )
    starts, counts = tf.constant(starts[several]), tf.constant(counts[several])
    queries, ngrams = tf.constant(queries), tf.constant(ngram_ids, tf.int32)
    base = tf.constant(np.random.SeedSequence(seed).generate_state(2).astype(np.int64))

    @tf.autograph.experimental.do_not_convert  # no Python control flow inside
    def batch(step: tf.Tensor) -> dict[str, tf.Tensor]:
        drawn = tf.random.stateless_uniform(
            [3, batch_size], tf.random.experimental.stateless_fold_in(base, step), 0, 2**62, tf.int64
        )
        picture = drawn[0] % tf.size(starts, tf.int64)
        start, count = tf.gather(starts, picture), tf.gather(counts, picture)
        left, other = drawn[1] % count, drawn[2] % (count - 1)
        right = other + tf.cast(other >= left, tf.int64)
        left_ids, right_ids = tf.gather(queries, start + left), tf.gather(queries, start + right)
        return {
            "left_ngrams": tf.gather(ngrams, left_ids),
            "right_ngrams": tf.gather(ngrams, right_ids),
            "left_ids": left_ids,
            "right_ids": right_ids,
        }

    return tf.data.Dataset.range(steps).map(batch).prefetch(tf.data.AUTOTUNE)


def _queries_of_pictures(
    pictures: np.ndarray, queries: np.ndarray, num_queries: int
) -> tuple[np.ndarray, np.ndarray]:
    """Row starts int64 [pictures + 1] and distinct queries int32, picture after picture."""
    if pictures.shape != queries.shape or pictures.ndim != 1:
        raise ValueError(
            f"pair_picture and pair_query must be two arrays of one length, got shapes {pictures.shape} and "
            f"{queries.shape}: give one entry of each for every query of every picture."
        )
    if queries.size and not 0 <= queries.min() <= queries.max() < num_queries:
        raise ValueError(
            f"pair_query must lie in 0..{num_queries - 1}, the rows of ngram_ids, got {queries.min()} to "
            f"{queries.max()}: number the queries by their rows."
        )
    distinct = np.unique(pictures.astype(np.int64) * num_queries + queries)
    _, starts = np.unique(distinct // num_queries, return_index=True)
    return np.append(starts, len(distinct)).astype(np.int64), (distinct % num_queries).astype(np.int32)
