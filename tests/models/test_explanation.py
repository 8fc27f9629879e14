import functools
import itertools

import numpy as np
import pytest
import tensorflow as tf

import ctxvision as cv
from ctxvision.layers import TermPlaces
from ctxvision.models._coalitions import coalitions
from ctxvision.models.explanation import explain_found
from ctxvision.models.phrase_context import FoundContext
from tests.tiny_model import tiny_classifier


@pytest.fixture(scope="module")
def model():
    """A head with training statistics: averages are not zero, and members have different weights."""
    model = tiny_classifier(terms=2)
    rng = np.random.default_rng(0)
    for member in model.fusion.members:
        for standardize in member.standardize:
            standardize.moving_mean.assign(0.1 * rng.normal(size=standardize.moving_mean.shape))
    places = rng.normal(size=model.fusion.label_terms.places.shape)
    model.fusion.label_terms.assign(TermPlaces(places, np.zeros(places.shape[:2]), np.array([1, 1, 1, 0])))
    model.fusion.member_weights.assign([0.8, 0.6, 0.4, 0.5])
    return model


@pytest.fixture(scope="module")
def pixels():
    return tf.random.stateless_uniform([3, 16, 16, 3], [0, 1], 0, 255)


def total(told):
    return told["visual"] + told["query"] + tf.reduce_sum(told["shares"], axis=2)


def log_odds(probabilities):
    return np.log(probabilities) - np.log1p(-probabilities)


def shapley(value, players):
    """Shapley values by definition: the mean over all orders of what each player adds."""
    value = functools.cache(value)
    shares = np.zeros(players)
    orders = list(itertools.permutations(range(players)))
    for order in orders:
        for place, player in enumerate(order):
            shares[player] += value(frozenset(order[: place + 1])) - value(frozenset(order[:place]))
    return shares / len(orders)


def test_shares_are_shapley_values_of_the_log_odds(model, pixels):
    told = cv.explain(model, pixels, top=2)
    queries, visual = model.embed(pixels)
    found, fusion = model.find_context(queries), model.fusion
    row, label = 2, int(told["label_ids"][2, 1])

    def value(there):
        scores = [float(found.scores[row, i]) if i + 2 in there else -1.0 for i in range(3)]
        context = model.pooling([found.embeddings[row : row + 1], tf.constant([scores], tf.float32)])
        if not there & {2, 3, 4}:
            context = fusion.average_input(1)[tf.newaxis]
        seen = visual[row] if 0 in there else fusion.average_input(0)
        query = queries[row] if 1 in there else fusion.average_input(2)
        return log_odds(fusion([seen[tf.newaxis], context, query[tf.newaxis]])[0, label].numpy())

    expected = shapley(value, 5)
    change = told["scores"][row, 1] - told["prior_scores"][row, 1]
    found_shares = np.concatenate([[told["visual"][row, 1], told["query"][row, 1]], told["shares"][row, 1]])
    np.testing.assert_allclose(found_shares, expected * (change / expected.sum()), atol=1e-5)


@pytest.mark.parametrize("fusion", ["pool", "concat", "mlb"])
def test_shares_sum_to_the_score_minus_the_prior_score(pixels, fusion):
    model = tiny_classifier(fusion=fusion)
    told = cv.explain(model, pixels, top=3)
    outputs = model(pixels)
    np.testing.assert_allclose(told["scores"], np.sort(outputs["probabilities"])[:, ::-1][:, :3], rtol=1e-4)
    np.testing.assert_allclose(total(told), told["scores"] - told["prior_scores"], atol=1e-5)
    assert np.abs(told["shares"]).max() > 1e-3 and np.abs(told["visual"]).max() > 1e-3
    if fusion != "pool":
        np.testing.assert_allclose(told["query"], 0, atol=1e-6)


def test_shares_of_many_phrases_are_sampled_and_sum_as_well(pixels):
    model = tiny_classifier(rows=20, k=14)
    told = cv.explain(model, pixels, top=2)
    np.testing.assert_allclose(total(told), told["scores"] - told["prior_scores"], atol=1e-5)
    np.testing.assert_array_equal(told["shares"], cv.explain(model, pixels, top=2)["shares"])


def test_phrases_that_say_the_same_share_the_credit(model, pixels):
    queries, visual = model.embed(pixels)
    found = model.find_context(queries)
    twice = FoundContext(
        found.ids,
        found.scores * 0 + 0.5,
        tf.gather(found.embeddings, [0, 0, 2], axis=1),
        found.vector,
    )
    shares = explain_found(model, twice, visual, queries)["shares"]
    np.testing.assert_allclose(shares[..., 0], shares[..., 1], atol=1e-6)


def test_a_missing_phrase_has_no_share(model, pixels):
    queries, visual = model.embed(pixels)
    found = model.find_context(queries)
    scores = tf.concat([found.scores[:, :2], -tf.ones([3, 1])], axis=1)
    told = explain_found(model, found._replace(scores=scores), visual, queries)
    np.testing.assert_allclose(told["shares"][..., 2], 0, atol=1e-6)
    nothing = explain_found(model, found._replace(scores=-tf.ones([3, 3])), visual, queries)
    np.testing.assert_allclose(nothing["shares"], 0, atol=1e-6)
    context = model.pooling([found.embeddings, -tf.ones([3, 3])])
    np.testing.assert_allclose(
        nothing["scores"][:, 0], tf.reduce_max(model.fuse(visual, context, queries), 1), rtol=1e-4
    )


@pytest.mark.parametrize("k", [1, 3, 10, 12])
def test_coalitions_give_additive_values(k):
    parts = coalitions(k)
    worth = np.random.default_rng(0).normal(size=k + 2)
    there = np.concatenate(
        [parts.picture[:, None], parts.query[:, None], parts.subsets[parts.phrases]], axis=1
    )
    np.testing.assert_allclose(parts.weights @ (there @ worth), worth, atol=1e-5)
    assert there[parts.whole].all() and not there[parts.none].any()
    assert len(there) == (2 ** (k + 2) if k <= 10 else len(np.unique(there, axis=0)))


def test_shapes_and_top_above_the_number_of_labels(model, pixels):
    told = cv.explain(model, pixels, top=99)
    labels, k = len(model.labels), model.retrieval.k
    assert told["shares"].shape == (3, labels, k)
    assert told["phrases"].shape == told["phrase_scores"].shape == (3, k)
