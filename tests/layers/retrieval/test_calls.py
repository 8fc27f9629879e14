"""Arguments of a call: number, lowest score and filter."""

import numpy as np
import pytest
import tensorflow as tf

from tests.layers.retrieval.many_rows import (
    ADULT,
    BRAND,
    DIM,
    GERMAN,
    IDS,
    PROTOTYPES,
    QUERIES,
    ROWS,
    check_found,
    check_phrases,
)
from tests.layers.retrieval.oracle import check_exact, check_sound, nearest


@pytest.mark.parametrize("k", [1, 3, 4])
def test_k_below_the_layers(retrieval, k):
    check_found(retrieval(tf.constant(QUERIES[:6]), k=k), QUERIES[:6], k)
    check_found(retrieval(tf.constant(QUERIES[:6]), k=tf.constant(k)), QUERIES[:6], k)
    assert retrieval(tf.constant(QUERIES), k=np.int64(k)).ids.shape == (7, k)


@pytest.mark.parametrize("bad", [0, -1, 5, 1.5])
def test_k_above_the_layers(retrieval, bad):
    with pytest.raises(
        ValueError, match=rf"k must be a whole number from 1 to 4, the k of the layer, got {bad}: ask"
    ):
        retrieval(tf.constant(QUERIES), k=bad)


@pytest.mark.parametrize("bad", [0, -1, 5])
def test_k_above_the_layers_as_a_tensor(retrieval, bad):
    for call in (retrieval, tf.function(lambda q, k: retrieval(q, k=k))):
        with pytest.raises(
            tf.errors.InvalidArgumentError, match="k must be a whole number from 1 to 4, the k of the layer"
        ):
            call(tf.constant(QUERIES), k=tf.constant(bad))


@pytest.mark.parametrize("min_score", [-1.0, 0.9, 0.995, 2.0])
def test_least_score(retrieval, min_score):
    ids, scores = nearest(QUERIES[:6], PROTOTYPES, 4)
    passing = scores >= min_score
    for given in (min_score, tf.constant(min_score)):
        found = retrieval(tf.constant(QUERIES[:6]), min_score=given)
        np.testing.assert_array_equal(found.ids, np.where(passing, ids, -1))
        np.testing.assert_allclose(found.scores, np.where(passing, scores, -1.0), atol=1e-6)
        check_phrases(found)


@pytest.mark.parametrize(
    ("rules", "kept"),
    [
        ({}, IDS >= 0),
        ({"allow_languages": ["de"]}, GERMAN),
        ({"deny_languages": ["de", "xx"]}, ~GERMAN),
        ({"deny_flags": ["adult"]}, ~ADULT),
        ({"allow_flags": ["adult", "brand"]}, ADULT & BRAND),
        ({"deny_ids": nearest(QUERIES[:6], PROTOTYPES, 4)[0].ravel()}, None),
        (
            {"allow_flags": ["brand"], "deny_flags": ["adult"], "deny_languages": ["en"]},
            BRAND & ~ADULT & GERMAN,
        ),
    ],
)
def test_filter(retrieval, rules, kept):
    kept = ~np.isin(IDS, rules["deny_ids"]) if kept is None else kept
    found = retrieval(tf.constant(QUERIES[:6]), where=retrieval.filter(**rules))
    check_sound(found.ids, found.scores, QUERIES[:6], PROTOTYPES, kept)
    check_phrases(found)
    assert (found.ids.numpy() >= 0).all()
    # The admitted rows lie far apart, so the lists that are read may miss some of the nearest.
    if retrieval.backend == "exact" or kept.mean() > 0.5:
        check_exact(found.ids, found.scores, QUERIES[:6], PROTOTYPES, 4, kept)
    fewer = retrieval(tf.constant(QUERIES[:6]), k=2, min_score=0.9, where=retrieval.filter(**rules))
    np.testing.assert_array_equal(fewer.ids, np.where(found.scores[:, :2] >= 0.9, found.ids[:, :2], -1))


def test_filter_that_leaves_fewer_than_k(retrieval):
    left = [17, 4711]
    found = retrieval(tf.constant(QUERIES), where=retrieval.filter(deny_ids=np.setdiff1d(IDS, left)))
    check_exact(found.ids, found.scores, QUERIES, PROTOTYPES, 4, np.isin(IDS, left))
    assert found.scores.numpy()[:, 2:].tolist() == [[-1.0, -1.0]] * 7
    check_phrases(found)


def test_filter_that_leaves_nothing(retrieval):
    found = retrieval(tf.constant(QUERIES), where=retrieval.filter(allow_languages=["xx"]))
    assert (found.ids.numpy() == -1).all() and (found.scores.numpy() == -1).all()
    check_phrases(found)


def test_filter_by_an_unknown_flag(retrieval):
    with pytest.raises(
        ValueError, match=r"flags must be columns of the table, \['adult', 'brand'\], got 'rude'"
    ):
        retrieval.filter(deny_flags=["rude"])


@pytest.mark.parametrize("filtered", [False, True])
def test_more_queries_than_fit_in_a_chunk(monkeypatch, retrieval, filtered):
    search = retrieval._search
    limits = {
        "exact_search.MOST_SCORES": 3 * ROWS,
        "inverted_lists._MOST_GATHERED": 3 * 16 * getattr(search, "capacity", 1) * DIM,
    }
    if retrieval.backend == "scann":
        limits["scann_search._MOST_SCORES"] = 3 * ROWS
    for name, limit in limits.items():
        monkeypatch.setattr(f"ctxvision.layers.retrieval.{name}", limit)
    where = retrieval.filter(deny_languages=["de"]) if filtered else None
    traced = tf.function(lambda q: retrieval(q, where=where), input_signature=[tf.TensorSpec([None, DIM])])
    for rows in (6, 4, 3, 1):
        check_found(traced(tf.constant(QUERIES[:rows])), QUERIES[:rows], 4, ~GERMAN if filtered else None)
    check_found(
        retrieval(tf.constant(QUERIES[:5]), where=where), QUERIES[:5], 4, ~GERMAN if filtered else None
    )
