import numpy as np
import pytest
import tensorflow as tf

import ctxvision as cv
from tests.tiny_model import tiny_classifier


@pytest.fixture(scope="module")
def model():
    return tiny_classifier()


@pytest.fixture(scope="module")
def pixels():
    return tf.random.stateless_uniform([3, 16, 16, 3], [0, 1], 0, 255)


def test_a_share_is_what_the_probability_loses_without_the_phrase(model, pixels):
    told = cv.explain(model, pixels, top=2)
    outputs = model(pixels)
    np.testing.assert_allclose(told["scores"], np.sort(outputs["probabilities"])[:, ::-1][:, :2], rtol=1e-5)
    # Phrase 1 of picture 2 left out by hand.
    ids, scores = outputs["phrase_ids"].numpy(), outputs["phrase_scores"].numpy().copy()
    scores[2, 1] = -1.0
    context = model.pooling([model.phrase_embeddings(tf.constant(ids)), tf.constant(scores)])
    without = model.fusion([model.visual_encoder(pixels), context]).numpy()
    for place in range(2):
        label = told["label_ids"][2, place]
        expected = outputs["probabilities"][2, label] - without[2, label]
        np.testing.assert_allclose(told["shares"][2, place, 1], expected, atol=1e-6)


def test_the_pictures_share_is_against_an_average_picture(model, pixels):
    told = cv.explain(model, pixels, top=1)
    outputs = model(pixels)
    context = model.pooling([model.phrase_embeddings(outputs["phrase_ids"]), outputs["phrase_scores"]])
    average = np.tile(model.fusion.standardize[0].moving_mean.numpy(), (3, 1))
    unseen = model.fusion([tf.constant(average), context]).numpy()
    label = told["label_ids"][:, 0].numpy()
    expected = told["scores"][:, 0] - unseen[np.arange(3), label]
    np.testing.assert_allclose(told["visual"][:, 0], expected, atol=1e-6)


def test_shapes_and_top_above_the_number_of_labels(model, pixels):
    told = cv.explain(model, pixels, top=99)
    labels, k = len(model.labels), model.retrieval.k
    assert told["shares"].shape == (3, labels, k)
    assert told["phrases"].shape == told["phrase_scores"].shape == (3, k)
