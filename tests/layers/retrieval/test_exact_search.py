"""Compares exact search with NumPy's brute force."""

import numpy as np
import pytest
import tensorflow as tf

from ctxvision.layers.retrieval import exact_search
from ctxvision.layers.retrieval.exact_search import ExactSearch
from tests.layers.retrieval.oracle import check_exact, nearest, unit

ROWS = unit(np.random.default_rng(0).normal(size=(40, 3)))
QUERIES = unit(np.random.default_rng(1).normal(size=(7, 3)))


def test_finds_the_nearest_rows():
    scores, ids = ExactSearch(ROWS, np.arange(40)).search(tf.constant(QUERIES), 5)
    assert (scores.dtype, ids.dtype) == (tf.float32, tf.int32)
    np.testing.assert_array_equal(ids, nearest(QUERIES, ROWS, 5)[0])
    check_exact(ids, scores, QUERIES, ROWS, 5)


def test_ids_are_those_of_the_table():
    kept = np.arange(40) % 3 == 1
    scores, ids = ExactSearch(ROWS, np.flatnonzero(kept)).search(tf.constant(QUERIES), 5)
    check_exact(ids, scores, QUERIES, ROWS, 5, kept)


def test_filter():
    search = ExactSearch(ROWS, np.arange(40))
    scores, ids = search.search(tf.constant(QUERIES), 5, lambda ids: ids % 10 == 0)
    check_exact(ids, scores, QUERIES, ROWS, 5, np.arange(40) % 10 == 0)
    assert (ids.numpy() >= 0).sum(axis=1).tolist() == [4] * 7


def test_dropped_rows_are_not_found_even_if_all_others_are_opposite():
    rows = unit([[-1, 0], [-1, 1], [1, 0], [-1, -2]])
    search = ExactSearch(rows, np.arange(4))
    search.drop(np.array([2, 9], np.int32))
    # A dropped row is zeros, which are nearer to this query than any remaining row.
    scores, ids = search.search(tf.constant([[1.0, 0.0]]), 4)
    assert ids.numpy().tolist() == [[3, 1, 0, -1]]
    np.testing.assert_allclose(scores.numpy()[0, :3], [-(5**-0.5), -(0.5**0.5), -1.0], atol=1e-6)


@pytest.mark.parametrize("known", [True, False])
def test_more_queries_than_scores_fit(monkeypatch, known):
    monkeypatch.setattr(exact_search, "MOST_SCORES", 3 * 40)  # chunks of 3, 3 and 1 queries
    search = ExactSearch(ROWS, np.arange(40))
    shape = [7 if known else None, 3]
    find = tf.function(lambda q: search.search(q, 5), input_signature=[tf.TensorSpec(shape)])
    assert [x.shape.as_list() for x in find.get_concrete_function().structured_outputs] == [[shape[0], 5]] * 2
    for rows in [7] if known else [7, 6, 3, 1, 0]:
        scores, ids = find(tf.constant(QUERIES[:rows]))
        np.testing.assert_array_equal(ids, nearest(QUERIES, ROWS, 5)[0][:rows])


def test_float16_rows_are_scored_in_float32():
    rows = ROWS.astype(np.float16)
    scores, ids = ExactSearch(rows, np.arange(40)).search(tf.constant(QUERIES), 5)
    assert scores.dtype == tf.float32
    check_exact(ids, scores, QUERIES, rows, 5)
