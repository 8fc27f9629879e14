"""The best of many candidates are found in groups as `top_k` finds them."""

import numpy as np
import pytest
import tensorflow as tf

from ctxvision.layers.retrieval import batches
from ctxvision.layers.retrieval.batches import best_places, pick_best


@pytest.fixture(autouse=True)
def grouped(monkeypatch):
    monkeypatch.setattr(batches, "_FEWEST_GROUPED", 256)


@pytest.mark.parametrize("number", [3, 40, 1000, 1001, 1008, 4096])
@pytest.mark.parametrize("batch", [0, 1, 5])
@pytest.mark.parametrize("k", [1, 3, 20])
def test_finds_the_same_as_top_k(number, batch, k):
    k = min(k, number)
    scores = np.random.default_rng(number + k).normal(size=(batch, number)).astype(np.float32)
    expected = tf.math.top_k(scores, k)
    best, places = best_places(tf.constant(scores), k)
    assert places.dtype == tf.int32
    np.testing.assert_array_equal(best, expected.values)
    np.testing.assert_array_equal(places, expected.indices)


@pytest.mark.parametrize("levels", [1, 2, 30])
def test_the_first_of_equal_scores_wins(levels):
    scores = np.random.default_rng(0).integers(0, levels, (4, 1024)).astype(np.float32)
    for k in (1, 2, 7, 8):
        np.testing.assert_array_equal(
            best_places(tf.constant(scores), k)[1], tf.math.top_k(scores, k).indices
        )


def test_picks_ids_of_each_query_or_of_all():
    scores = tf.constant(
        np.random.default_rng(0).permuted(np.tile(np.arange(512.0), (3, 1)), axis=1), tf.float32
    )
    ids = tf.cast(scores, tf.int32)
    assert pick_best(scores, ids, 2)[1].numpy().tolist() == [[511, 510]] * 3
    shared = tf.range(512) * 2
    np.testing.assert_array_equal(pick_best(scores, shared, 2)[1], 2 * tf.math.top_k(scores, 2).indices)
