"""ScaNN search: exact if it reads and re-ranks everything, and k rows found if k exist."""

import numpy as np
import pytest
import tensorflow as tf

from ctxvision._tfrs import has_scann
from tests.tiny_data import NO_SCANN

if not has_scann():
    pytest.skip(NO_SCANN, allow_module_level=True)

from ctxvision.layers.retrieval import scann_search  # noqa: E402
from ctxvision.layers.retrieval.scann_search import ScannSearch, default_leaves  # noqa: E402
from tests.layers.retrieval.oracle import check_exact, check_sound, clustered, nearest, unit  # noqa: E402

N = 1500
ROWS = clustered(0, N, dim=8, clusters=100)
QUERIES = np.concatenate([clustered(1, 6, dim=8, clusters=100), unit(-ROWS[:1])])
ALL = np.arange(N, dtype=np.int32)


def some(ids):
    return (ids >= 0) & (ids % 300 == 7)


@pytest.fixture(scope="module")
def search():
    """Makes a search, which tests must not change."""
    return ScannSearch(ROWS, ALL)


def test_finds_the_nearest_rows(search):
    scores, ids = search.search(tf.constant(QUERIES), 5)
    assert (scores.dtype, ids.dtype) == (tf.float32, tf.int32)
    check_sound(ids, scores, QUERIES, ROWS)
    np.testing.assert_array_equal(ids[:6], nearest(QUERIES, ROWS, 5)[0][:6])


def test_searches_with_scann_ops(search):
    find = tf.function(lambda q: search.search(q, 5)).get_concrete_function(tf.constant(QUERIES))
    assert any(op.type.startswith("Scann") for op in find.graph.get_operations())


def test_reading_and_reranking_everything_is_exact():
    search = ScannSearch(ROWS, ALL, num_lists=10, probes=10, depth=N)
    for k in (1, 5, 400):
        scores, ids = search.search(tf.constant(QUERIES), k)
        check_exact(ids, scores, QUERIES, ROWS, k)


def test_probes_and_depth_are_used_in_the_search():
    rows, queries = (unit(np.random.default_rng(i).normal(size=(n, 8))) for i, n in enumerate((N, 50)))
    search = ScannSearch(rows, ALL, num_lists=20)

    def recall(probes, depth):
        search.probes, search.depth = probes, depth
        found = search.search(tf.constant(queries), 5)[1].numpy()
        return (found[:, :, None] == nearest(queries, rows, 5)[0][:, None]).any(axis=1).mean()

    assert recall(1, 300) < 0.8 and recall(20, 5) < 0.95 and recall(20, 300) > 0.99


@pytest.mark.parametrize("k", [301, N])
def test_k_above_depth_scores_all_rows(search, k):
    scores, ids = search.search(tf.constant(QUERIES), k)
    check_exact(ids, scores, QUERIES, ROWS, k)


@pytest.mark.parametrize("batch", [7, None])
def test_filter_that_few_rows_pass_scores_all_rows(monkeypatch, search, batch):
    monkeypatch.setattr(scann_search, "_MOST_SCORES", 3 * N)  # chunks of three queries
    find = tf.function(lambda q: search.search(q, 6, some), input_signature=[tf.TensorSpec([batch, 8])])
    scores, ids = find(tf.constant(QUERIES))
    check_exact(ids, scores, QUERIES, ROWS, 6, np.arange(N) % 300 == 7)
    assert (ids.numpy() >= 0).sum(axis=1).tolist() == [5] * 7


def test_filter_that_many_rows_pass_is_answered_from_its_depth(search):
    scores, ids = search.search(tf.constant(QUERIES), 5, lambda ids: (ids >= 0) & (ids % 2 == 0))
    check_sound(ids, scores, QUERIES, ROWS, np.arange(N) % 2 == 0)
    np.testing.assert_array_equal(ids[:6], nearest(QUERIES, ROWS, 5, np.arange(N) % 2 == 0)[0][:6])


@pytest.mark.parametrize("admits", [None, some])
@pytest.mark.parametrize("rows", [0, 1])
def test_empty_batch_and_a_single_query(search, rows, admits):
    scores, ids = search.search(tf.constant(QUERIES[:rows]), 5, admits)
    assert scores.shape == ids.shape == (rows, 5)


def test_dropped_rows_are_never_found():
    search = ScannSearch(ROWS, ALL)
    first = search.search(tf.constant(QUERIES), 5)[1].numpy()
    gone = np.unique(first)
    search.drop(gone)
    for k in (5, 400):  # within its depth, and beyond
        scores, ids = search.search(tf.constant(QUERIES), k)
        check_sound(ids, scores, QUERIES, ROWS, ~np.isin(ALL, gone))
        assert (ids.numpy() >= 0).all()
    # More of the nearest rows are dropped than it re-ranks, so only a pass over all rows finds others.
    search.drop(nearest(QUERIES[:1], ROWS, 700)[0][0])
    scores, ids = search.search(tf.constant(QUERIES[:1]), 5)
    check_exact(ids, scores, QUERIES[:1], ROWS, 5, search.ids.numpy() >= 0)


def test_places_that_scann_leaves_empty_are_filled(monkeypatch, search):
    class Short:
        """Imitates ScaNN: NaN and place 0 if a query has fewer rows, and no columns that are empty for all."""

        def __init__(self, columns):
            self.columns = columns

        def search_batched(self, queries, final, depth, probes):
            rows = tf.shape(queries)[0]
            scores = tf.tile([[0.5, float("nan"), float("nan")]], [rows, 1])
            return tf.zeros([rows, self.columns], tf.int32), scores[:, : self.columns]

    for columns in (3, 1):
        monkeypatch.setattr(scann_search.scann_ops, "searcher_from_module", lambda _, c=columns: Short(c))
        scores, ids = search.search(tf.constant(QUERIES), 3)
        check_exact(ids, scores, QUERIES, ROWS, 3)


def test_no_trainable_variables_and_a_single_copy_of_rows(search):
    assert not search.trainable_variables
    assert sum(x.shape.as_list() == [N, 8] for x in search.variables) == 1


@pytest.mark.parametrize(("rows", "leaves"), [(1, 1), (1500, 39), (1_000_000, 1000)])
def test_default_leaves(rows, leaves):
    assert default_leaves(rows) == leaves
