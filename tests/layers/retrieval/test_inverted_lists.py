"""Inverted lists: exact if all lists are probed, k rows found if k exist, places freed and reused."""

import numpy as np
import pytest
import tensorflow as tf

from ctxvision.layers.retrieval import inverted_lists
from ctxvision.layers.retrieval.inverted_lists import InvertedLists, default_lists
from tests.layers.retrieval.oracle import check_exact, check_sound, clustered, nearest, unit

N = 300
ROWS = unit(np.random.default_rng(0).normal(size=(N, 6)))
QUERIES = unit(np.random.default_rng(1).normal(size=(7, 6)))
ALL = np.arange(N, dtype=np.int32)


def held(search):
    """Maps id to row in the lists, and checks that each id occurs once."""
    ids, rows = search.ids.numpy(), search.rows.numpy()
    there = ids[ids >= 0]
    assert len(set(there)) == len(there) and not rows[ids < 0].any()
    return dict(zip(there.tolist(), rows[ids >= 0]))


def test_each_row_is_in_the_lists_once():
    ids = ALL[::2]
    rows = held(InvertedLists(ROWS, ids, num_lists=12))
    assert sorted(rows) == ids.tolist()
    np.testing.assert_array_equal([rows[i] for i in ids], ROWS[ids])


@pytest.mark.parametrize("num_lists", [1, 12, N])
def test_all_lists_probed_is_exact(num_lists):
    search = InvertedLists(ROWS, ALL, num_lists, probes=num_lists)
    scores, ids = search.search(tf.constant(QUERIES), 5)
    assert (scores.dtype, ids.dtype) == (tf.float32, tf.int32)
    check_exact(ids, scores, QUERIES, ROWS, 5)


def test_few_lists_probed_find_most_in_clusters():
    rows, queries = clustered(0, 2000, clusters=100), clustered(1, 50, clusters=100)
    search = InvertedLists(rows, np.arange(2000), probes=4)
    scores, ids = search.search(tf.constant(queries), 3)
    check_sound(ids, scores, queries, rows)
    hits = (ids.numpy()[:, :, None] == nearest(queries, rows, 3)[0][:, None]).any(axis=1)
    assert search.probes < search.num_lists / 50 and hits.mean() > 0.9


@pytest.mark.parametrize("k", [1, 40, N])
@pytest.mark.parametrize("batch", [7, None])
def test_further_lists_are_read_until_k_rows_are_found(k, batch):
    search = InvertedLists(ROWS, ALL, num_lists=50, probes=1)
    find = tf.function(lambda q: search.search(q, k), input_signature=[tf.TensorSpec([batch, 6])])
    scores, ids = find(tf.constant(QUERIES))
    assert scores.shape == ids.shape == (7, k) and (ids.numpy() >= 0).all()
    check_sound(ids, scores, QUERIES, ROWS)
    if k == N:
        check_exact(ids, scores, QUERIES, ROWS, N)


@pytest.mark.parametrize("probes", [1, 7, 50])
def test_filter_that_few_rows_pass_finds_all_of_them(probes):
    search = InvertedLists(ROWS, ALL, num_lists=50, probes=probes)
    wanted = np.array([5, 40, 222])
    scores, ids = search.search(
        tf.constant(QUERIES), 4, lambda ids: tf.reduce_any(ids[..., None] == wanted, -1)
    )
    check_exact(ids, scores, QUERIES, ROWS, 4, np.isin(ALL, wanted))


def test_filter_that_empties_the_probed_lists_reads_as_many_rows_elsewhere():
    # East has ten denied rows and an admitted one; north-east has five rows that are nearer to the query than that one.
    angles = np.radians([*range(-5, 5), -30, *range(60, 65)])
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    search = InvertedLists(rows, np.arange(16), num_lists=2, probes=1)
    lists = [set(row[row >= 0].tolist()) for row in search.ids.numpy()[:-1]]
    assert set(range(11)) in lists and set(range(11, 16)) in lists  # the precondition of the example
    query = tf.constant([[np.cos(np.radians(29)), np.sin(np.radians(29))]], tf.float32)
    scores, ids = search.search(query, 1, lambda ids: ids >= 10)
    assert ids.numpy().tolist() == [[11]]
    np.testing.assert_allclose(scores, [[np.cos(np.radians(31))]], atol=1e-6)


@pytest.mark.parametrize("batch", [7, None])
@pytest.mark.parametrize("admits", [None, lambda ids: (ids >= 0) & (ids % 3 == 0)])
def test_more_queries_than_fit_in_a_chunk(monkeypatch, batch, admits):
    search = InvertedLists(ROWS, ALL, num_lists=12, probes=12)
    monkeypatch.setattr(
        inverted_lists, "_MOST_GATHERED", 3 * 12 * search.capacity * 6
    )  # chunks of three queries
    find = tf.function(lambda q: search.search(q, 5, admits), input_signature=[tf.TensorSpec([batch, 6])])
    found = find.get_concrete_function().structured_outputs
    assert [x.shape.as_list() for x in found] == [[batch, 5]] * 2
    for rows in [7] if batch else [7, 6, 3, 1, 0]:
        scores, ids = find(tf.constant(QUERIES[:rows]))
        check_exact(ids, scores, QUERIES[:rows], ROWS, 5, None if admits is None else ALL % 3 == 0)


def test_opposite_rows_are_found_before_empty_places():
    rows = unit([[-1, 0], [-1, 1], [-1, -2]])
    scores, ids = InvertedLists(rows, np.arange(3), 1, 1).search(tf.constant([[1.0, 0.0]]), 3)
    assert ids.numpy().tolist() == [[2, 1, 0]]
    np.testing.assert_allclose(scores, [[-(5**-0.5), -(0.5**0.5), -1.0]], atol=1e-6)


def test_float16_rows_stay_float16_and_are_scored_in_float32():
    rows = ROWS.astype(np.float16)
    search = InvertedLists(rows, ALL, 12, 12)
    scores, ids = search.search(tf.constant(QUERIES), 5)
    assert search.rows.dtype == tf.float16 and scores.dtype == tf.float32
    check_exact(ids, scores, QUERIES, rows, 5)


# === Change ===


def test_dropped_rows_free_their_places():
    search = InvertedLists(ROWS, ALL, 12, 12)
    gone = ALL[::4]
    search.drop(np.append(gone, 999).astype(np.int32))
    assert sorted(held(search)) == sorted(set(ALL) - set(gone))
    scores, ids = search.search(tf.constant(QUERIES), N)
    check_exact(ids, scores, QUERIES, ROWS, N, ALL % 4 != 0)


@pytest.mark.parametrize("at_once", [1 << 24, 40])
def test_takes_rows_into_free_places_of_near_lists(monkeypatch, at_once):
    monkeypatch.setattr(inverted_lists, "_MOST_GATHERED", at_once)
    search = InvertedLists(ROWS, ALL, 12, 2)
    new = unit(np.random.default_rng(2).normal(size=(20, 6)))
    placed = search.take_in(np.arange(300, 320, dtype=np.int32), new)
    assert placed.dtype == bool and placed.all()
    rows = held(search)
    np.testing.assert_array_equal([rows[i] for i in range(320)], np.concatenate([ROWS, new]))
    # Lists have room for half of their rows, so all rows went to their nearest list.
    _, ids = search.search(tf.constant(new), 1)
    assert ids.numpy()[:, 0].tolist() == list(range(300, 320))


def test_takes_no_more_rows_than_there_are_places():
    rows = unit(np.random.default_rng(0).normal(size=(20, 2)))
    search = InvertedLists(rows, np.arange(20), num_lists=4, probes=4)  # 7 places each, 8 free in total
    new = unit(np.random.default_rng(1).normal(size=(15, 2)))
    placed = search.take_in(np.arange(20, 35, dtype=np.int32), new)
    assert placed.sum() == 8
    assert sorted(held(search)) == [*range(20), *(20 + np.flatnonzero(placed)).tolist()]
    assert not search.take_in(np.array([99], np.int32), new[:1]).any()
    assert (search.ids.numpy()[-1] == -1).all()  # the padding list stays empty


def test_takes_in_nothing_far_away(monkeypatch):
    monkeypatch.setattr(inverted_lists, "_NEAR_ENOUGH", 1)
    rows = unit([[1, 0], [1, 0.1], [-1, 0], [-1, 0.1]])
    search = InvertedLists(rows, np.arange(4), num_lists=2, probes=1)  # 3 places each, one free in each
    assert search.take_in(np.array([4, 5, 6], np.int32), unit([[1, 0.2], [1, 0.3], [-1, 0.2]])).tolist() == [
        True,
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("rows", "lists"),
    [(1, 1), (4, 4), (64, 64), (100, 80), (10_000, 800), (1_000_000, 8000), (40_000_000, 320_000)],
)
def test_default_lists(rows, lists):
    assert default_lists(rows) == lists


@pytest.mark.parametrize(("k", "lists"), [(1, 1), (5, 1), (6, 2), (50, 10), (100, 10)])
def test_lists_that_hold_k_rows_twice(k, lists):
    assert InvertedLists(ROWS[:100], np.arange(100), num_lists=10).fewest_probes(k) == lists


@pytest.mark.parametrize(
    "settings", [{"num_lists": 0}, {"num_lists": 4001}, {"num_lists": 2.5}, {"probes": 0}, {"probes": -1}]
)
def test_settings_out_of_range(settings):
    name, value = next(iter(settings.items()))
    with pytest.raises(
        ValueError, match=f"{name} must be a whole number .*, got {value}: let tune choose it"
    ):
        InvertedLists(clustered(0, 4000, dim=8, clusters=10), np.arange(4000, dtype=np.int32), **settings)
