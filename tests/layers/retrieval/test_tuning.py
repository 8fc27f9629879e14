"""Tuning reaches the required recall and sets the layer's search."""

import json
import weakref

import numpy as np
import pytest
import tensorflow as tf

from ctxvision import PhraseTable
from ctxvision.layers import PrototypeRetrieval, prototype_retrieval
from ctxvision.layers.retrieval import tuning
from tests.layers.retrieval.oracle import clustered, nearest

N = 1500
# In wide clusters, few probes do not find all rows.
ROWS = clustered(0, N, dim=8, clusters=50, spread=0.2)
QUERIES = clustered(1, 30, dim=8, clusters=50, spread=0.2)
TABLE = PhraseTable.from_arrays([f"p{i}" for i in range(N)], ROWS, counts=np.arange(N) % 5 + 1)

FOUND, RECALL = tuning._found, tuning._Truth.recall


@pytest.fixture(autouse=True)
def cost(monkeypatch):
    """Replaces time by a formula, so that the fastest setting is known."""
    cost_is(monkeypatch, lambda search: search.probes / search.num_lists + getattr(search, "depth", 0))
    monkeypatch.setattr(tuning, "NUM_QUERIES", 30)
    monkeypatch.setattr(prototype_retrieval, "FEWEST_ROWS", 1300)


def cost_is(monkeypatch, milliseconds):
    monkeypatch.setattr(
        tuning, "_found", lambda search, truth: (FOUND(search, truth)[0], milliseconds(search))
    )


def measured_by_hand(layer, queries, k, own=None, kept=None, rows=ROWS):
    """Computes the share of the k nearest rows that the layer finds for single queries, without the query's own row."""
    found = np.concatenate([layer(tf.constant(query[None])).ids for query in queries])
    hits = []
    for row, query in enumerate(queries):
        skip = -2 if own is None else own[row]
        truth = [i for i in nearest(query[None], rows, k + 1, kept)[0][0] if i != skip][:k]
        hits.append(len(set(truth) & set([i for i in found[row] if i != skip][:k])))
    return sum(hits) / (k * len(queries))


@pytest.mark.parametrize("recall", [0.5, 0.9, 0.99])
def test_recall_is_reached_for_given_queries(recall):
    layer = PrototypeRetrieval(k=4).tune(TABLE, recall, k=3, queries=5 * QUERIES)
    chosen = layer.tuning["chosen"]
    assert measured_by_hand(layer, QUERIES, 3) == pytest.approx(chosen["recall"])
    assert chosen["recall"] >= recall
    assert {name: layer.tuning[name] for name in ("recall", "k", "queries", "exact")} == {
        "recall": recall,
        "k": 3,
        "queries": 30,
        "exact": False,
    }


def test_recall_is_reached_for_rows_of_the_table_each_without_itself():
    layer = PrototypeRetrieval(k=4).tune(TABLE, 0.9)
    own = np.sort(np.random.default_rng(0).choice(np.arange(N), 30, replace=False))
    assert measured_by_hand(layer, ROWS[own], 3, own) == pytest.approx(layer.tuning["chosen"]["recall"])
    assert layer.tuning["chosen"]["recall"] >= 0.9


@pytest.mark.parametrize(
    ("cheapest", "numbers"), [(310, [310, 207]), (207, [310, 207, 138]), (138, [310, 207, 138, 92])]
)
def test_fewer_lists_are_tried_while_they_are_faster(monkeypatch, cheapest, numbers):
    # One probed list of 8 √1500 = 310 holds few rows, so each next number of lists is a third lower.
    cost_is(monkeypatch, lambda search: search.probes / 1000 + abs(search.num_lists - cheapest))
    layer = PrototypeRetrieval(k=4).tune(TABLE, 0.5, queries=QUERIES)
    chosen, tried = layer.tuning["chosen"], layer.tuning["measured"]
    assert list(dict.fromkeys(m["num_lists"] for m in tried)) == numbers
    assert chosen in tried and chosen["num_lists"] == cheapest
    reached = [m for m in tried if m["recall"] >= 0.5]
    assert chosen["milliseconds"] == min(m["milliseconds"] for m in reached)
    # Fewer probes of the same number of lists did not reach the recall.
    fewer = [m["recall"] for m in tried if m["num_lists"] == cheapest and m["probes"] < chosen["probes"]]
    assert all(recall < 0.5 for recall in fewer)
    assert (layer._search.num_lists, layer._search.probes) == (cheapest, chosen["probes"])
    assert layer._search.centroids.shape[1] == cheapest
    again = PrototypeRetrieval(k=4).index(TABLE, num_lists=chosen["num_lists"], probes=chosen["probes"])
    np.testing.assert_array_equal(again(tf.constant(QUERIES)).ids, layer(tf.constant(QUERIES)).ids)


def test_many_lists_stay(monkeypatch):
    monkeypatch.setattr(tuning, "MANY_LISTS", 309)
    layer = PrototypeRetrieval(k=4).tune(TABLE, 0.5, queries=QUERIES)
    assert {m["num_lists"] for m in layer.tuning["measured"]} == {310}


def test_more_lists_are_tried_if_rows_dominate_the_cost(monkeypatch):
    # Rows are far from each other, so nearly all lists must be read.
    monkeypatch.setattr(tuning, "_FEWEST_IN_LIST", 4)
    monkeypatch.setattr(tuning, "_IMBALANCE", 2)
    monkeypatch.setattr(tuning, "_ladder", lambda fewest, most: [fewest, most])
    rows = np.random.default_rng(2).standard_normal((N, 64)).astype(np.float32)
    table = PhraseTable.from_arrays([f"p{i}" for i in range(len(rows))], rows)
    cost_is(monkeypatch, lambda search: -search.num_lists)
    layer = PrototypeRetrieval(k=4).tune(table, 0.9)
    first, *others = dict.fromkeys(m["num_lists"] for m in layer.tuning["measured"])
    assert first == 310 and others == [N // 4]
    assert layer.tuning["chosen"]["num_lists"] == layer._search.num_lists == others[0]


def test_scann_reaches_recall_with_fewer_rows_to_rerank(monkeypatch):
    # The last setting is the cheapest, so ScaNN, whose builds differ a little, builds only once.
    cost_is(monkeypatch, lambda search: (search.probes + search.depth) / 1000 + search.num_lists)
    rows = clustered(0, 5000, dim=8, clusters=50, spread=0.2)
    table = PhraseTable.from_arrays([f"p{i}" for i in range(len(rows))], rows)
    layer = PrototypeRetrieval(k=4, backend="scann").tune(table, 0.9, queries=QUERIES)
    chosen = layer.tuning["chosen"]
    assert layer.tuning["measured"][0]["num_lists"] == 71
    assert chosen["num_lists"] == layer.tuning["measured"][-1]["num_lists"] < 71
    assert chosen["recall"] >= 0.9 and measured_by_hand(layer, QUERIES, 3, rows=rows) == pytest.approx(
        chosen["recall"], abs=0.02
    )
    assert {m["depth"] for m in layer.tuning["measured"]} == {30, 100, 300}
    search = layer._search
    assert (search.num_lists, search.probes, search.depth) == tuple(
        chosen[x] for x in ("num_lists", "probes", "depth")
    )


def test_rows_that_may_not_be_found_do_not_count():
    layer = PrototypeRetrieval(k=4).tune(TABLE, 0.9, queries=QUERIES, min_count=2)
    kept = np.arange(N) % 5 >= 1
    assert kept.sum() == 1200  # too few for lists
    assert layer.tuning["exact"] and measured_by_hand(layer, QUERIES, 3, kept=kept) == 1


@pytest.mark.parametrize("backend", ["ivf", "scann"])
def test_recall_that_no_setting_reaches(monkeypatch, backend):
    # As for rows that tie: chance decides which are nearest, so the fastest setting is not preferable.
    def recall(truth, found):
        return min(0.9, RECALL(truth, found))

    monkeypatch.setattr(tuning._Truth, "recall", recall)
    monkeypatch.setattr(tuning, "_ladder", lambda fewest, most: [fewest, most])
    layer = PrototypeRetrieval(k=4, backend=backend).tune(TABLE, 1.0, queries=QUERIES[:20])
    assert layer.tuning["chosen"]["recall"] == 0.9
    assert measured_by_hand(layer, QUERIES[:20], 3) >= 0.8  # ScaNN builds a little differently each time


def test_few_rows_are_exact_and_need_no_settings():
    layer = PrototypeRetrieval(k=2).tune(TABLE.take(np.arange(50)), k=2)
    assert layer.tuning == {"recall": 0.95, "k": 2, "queries": 0, "exact": True, "chosen": {}, "measured": []}


def test_tuning_is_json_and_the_next_index_clears_it():
    layer = PrototypeRetrieval(k=4).tune(TABLE, 0.5, queries=QUERIES)
    assert json.loads(json.dumps(layer.tuning)) == layer.tuning
    assert layer.index(TABLE).tuning is None


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"recall": 0}, "recall must be above 0 and at most 1, got 0"),
        ({"recall": 1.1}, "recall must be above 0 and at most 1, got 1.1"),
        ({"k": 0}, "k must be a whole number from 1 to 4, the k of the layer, got 0"),
        ({"k": 5}, "k must be a whole number from 1 to 4, the k of the layer, got 5"),
        ({"k": 1.5}, "k must be a whole number from 1 to 4, the k of the layer, got 1.5"),
    ],
)
def test_bad_arguments(arguments, match):
    with pytest.raises(ValueError, match=match):
        PrototypeRetrieval(k=4).tune(TABLE.take(np.arange(50)), **arguments)


@pytest.mark.parametrize(
    ("fewest", "most", "steps"),
    [(1, 1, [1]), (1, 10, [1, 2, 3, 4, 6, 8, 10]), (3, 24, [3, 4, 6, 8, 12, 16, 24]), (5, 5, [5])],
)
def test_ladder(fewest, most, steps):
    assert tuning._ladder(fewest, most) == steps


def test_queries_are_timed_and_answered_one_by_one():
    layer = PrototypeRetrieval(k=4).index(TABLE)
    truth = tuning._Truth.of(layer._ranked_rows(TABLE), np.arange(N, dtype=np.int32), QUERIES, 3)
    found, milliseconds = FOUND(layer._search, truth)
    assert found.shape == (30, 4) and 0 < milliseconds < 1000
    alone = [layer._search.search(tf.constant(query[None]), 4)[1].numpy()[0] for query in QUERIES[:20]]
    np.testing.assert_array_equal(found[:20], alone)


def test_an_index_is_freed_before_the_next_is_built(monkeypatch):
    cost_is(monkeypatch, lambda search: search.num_lists)
    build, held = PrototypeRetrieval._build_search, []

    def building(layer, *arguments, **settings):
        assert all(variable() is None for variable in held)
        search = build(layer, *arguments, **settings)
        held.append(weakref.ref(search.rows))
        return search

    monkeypatch.setattr(PrototypeRetrieval, "_build_search", building)
    PrototypeRetrieval(k=4).tune(TABLE, 0.5, queries=QUERIES)
    assert len(held) > 1
