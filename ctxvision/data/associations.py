"""Query-query associations: pairs of queries that share a picture."""

import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from ctxvision._files import open_text
from ctxvision.errors import InputError


def association_batches(
    pair_picture: np.ndarray,
    pair_query: np.ndarray,
    ngram_ids: np.ndarray,
    batch_size: int,
    steps: int,
    seed: int | Sequence[int] = 0,
    weights: np.ndarray | None = None,
) -> tf.data.Dataset:
    """Draws pairs of different queries of one picture (section 3.3).

    Each pair is two distinct queries of one picture, drawn uniformly without replacement. Pictures are drawn from those
    with at least two different queries. Step i of a seed always gives the same pairs.

    Args:
        pair_picture: int [P], the picture of each (picture, query) pair of the log, in any order; duplicates count
            once.
        pair_query: int [P], the query of each pair, as a row number of `ngram_ids`.
        ngram_ids: int32 [V, M], the queries' `DualEncoderText.ngram_ids`.
        batch_size: B, the number of pairs per step.
        steps: the number of batches.
        seed: one or several integers of 0 or more.
        weights: float [pictures], the relative probability of drawing each picture, indexed by picture number. None
            draws all pictures equally often.

    Returns:
        A dataset of `steps` dicts: `left_ngrams` and `right_ngrams` int32 [B, M], `left_ids` and `right_ids`
        int32 [B].

    Raises:
        InputError: no picture has two different queries.
        ValueError: the two arrays differ in length, or `pair_query` holds a number outside the rows of `ngram_ids`.
    """
    starts, queries = _queries_of_pictures(np.asarray(pair_picture), np.asarray(pair_query), len(ngram_ids))
    starts, counts = starts[:-1], np.diff(starts)
    several = counts >= 2
    pictures = np.unique(pair_picture)[several]
    if not several.any():
        raise InputError(
            f"queries must give at least one picture two different queries, got {len(counts)} pictures and none "
            f"with two: give pictures more queries, because the text encoder learns from queries that share a picture."
        )
    starts, counts = tf.constant(starts[several]), tf.constant(counts[several])
    queries, ngrams = tf.constant(queries), tf.constant(ngram_ids, tf.int32)
    ends = None if weights is None else tf.constant(np.cumsum(weights[pictures] / weights[pictures].sum()))
    base = tf.constant(np.random.SeedSequence(seed).generate_state(2).astype(np.int64))

    @tf.autograph.experimental.do_not_convert  # no Python control flow inside
    def batch(step: tf.Tensor) -> dict[str, tf.Tensor]:
        drawn = tf.random.stateless_uniform(
            [3, batch_size], tf.random.experimental.stateless_fold_in(base, step), 0, 2**62, tf.int64
        )
        picture = drawn[0] % tf.size(starts, tf.int64) if ends is None else _weighted(drawn[0], ends)
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


def shares_pictures(pair_picture: np.ndarray, pair_query: np.ndarray) -> bool:
    """Tells whether any picture has two different queries; `association_batches` describes the arguments."""
    starts, _ = _queries_of_pictures(pair_picture, pair_query, int(pair_query.max(initial=-1)) + 1)
    return bool((np.diff(starts) >= 2).any())


def _weighted(drawn: tf.Tensor, ends: tf.Tensor) -> tf.Tensor:
    """Maps int64 [B] uniform draws in 0..2^62 to int64 [B] picture numbers, by float64 [N] cumulative weights."""
    place = tf.cast(drawn, tf.float64) / 2.0**62
    found = tf.searchsorted(ends, place, side="right", out_type=tf.int64)
    return tf.minimum(found, tf.size(ends, tf.int64) - 1)


def read_associations(path: str | os.PathLike[str], known: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """Reads query-query pairs from a file.

    Args:
        path: a TSV file without a header. Each line holds two queries and an optional weight above 0.
        known: maps each query to its number. Lines with an unknown query, or with the same query twice, are skipped.

    Returns:
        int32 [N, 2] query numbers, and float64 [N] weights.

    Raises:
        InputError: the file does not exist or is not UTF-8, a line has another form, or no line has two different known
            queries.
    """
    if not os.path.isfile(path):
        raise InputError(
            f"associations must be a text file, got {str(path)!r}, which is not a file: check the path."
        )
    pairs, weights, lines = [], [], 0
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            lines += 1
            columns = [column.strip() for column in line.rstrip("\n").split("\t")]
            try:
                weight = float(columns[2]) if len(columns) == 3 else 1.0
            except ValueError:
                weight = 0.0
            if len(columns) not in (2, 3) or not weight > 0 or weight == float("inf"):
                raise InputError(
                    f"associations must have two queries and an optional weight above 0 per line, separated by tabs, "
                    f"got {line.rstrip()!r} in line {number} of {str(path)!r}: correct the line."
                )
            left, right = (known.get(column, -1) for column in columns[:2])
            if left >= 0 and right >= 0 and left != right:
                pairs.append((left, right))
                weights.append(weight)
    if not pairs:
        raise InputError(
            f"associations must pair queries of the data, got {lines} lines in {str(path)!r} and none with two known "
            f"queries: write the queries as they stand in the data."
        )
    return np.array(pairs, np.int32), np.array(weights)


def _queries_of_pictures(
    pictures: np.ndarray, queries: np.ndarray, num_queries: int
) -> tuple[np.ndarray, np.ndarray]:
    """Groups distinct queries by picture: int64 [pictures + 1] start positions, and int32 queries."""
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
