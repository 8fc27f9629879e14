import numpy as np
import pytest
import tensorflow as tf

from ctxvision.layers import ContextPooling
from tests.layer_checks import check_layer

EMBEDDINGS = tf.constant([[[1.0, 0.0], [0.0, 1.0], [9.0, 9.0]]])


def test_uniform_is_the_mean_of_the_present_phrases():
    context = ContextPooling("uniform")([EMBEDDINGS, tf.constant([[0.9, 0.1, -1.0]])])
    np.testing.assert_allclose(context, [[0.5, 0.5]])


def test_similarity_is_a_softmax_over_scores():
    context = ContextPooling("similarity", sharpness=2.0)([EMBEDDINGS, tf.constant([[0.9, 0.4, -1.0]])])
    first = np.exp(1.8) / (np.exp(1.8) + np.exp(0.8))
    np.testing.assert_allclose(context, [[first, 1 - first]], rtol=1e-5)


def test_attention_starts_as_similarity():
    inputs = [EMBEDDINGS, tf.constant([[0.9, 0.4, -1.0]])]
    np.testing.assert_array_equal(ContextPooling("attention")(inputs), ContextPooling("similarity")(inputs))


def test_attention_reads_the_phrase_and_its_score():
    rng = np.random.default_rng(0)
    embeddings, scores = rng.normal(size=(2, 3, 4)), np.array([[0.9, 0.4, -1.0], [0.2, 0.1, 0.0]])
    layer = ContextPooling("attention", sharpness=2.0)
    inputs = [tf.constant(embeddings, tf.float32), tf.constant(scores, tf.float32)]
    layer(inputs)
    vector, factor = rng.normal(size=4), 1.5
    layer.set_weights([vector, factor])
    weights = np.exp(2.0 * factor * scores + embeddings @ vector) * (scores > -1)
    weights /= weights.sum(axis=1, keepdims=True)
    expected = np.einsum("bk,bkd->bd", weights, embeddings)
    np.testing.assert_allclose(layer(inputs), expected, rtol=1e-5)
    np.testing.assert_allclose(tf.function(layer, jit_compile=True)(inputs), expected, rtol=1e-5)


def test_attention_learns_only_from_present_phrases():
    layer = ContextPooling("attention")
    inputs = [EMBEDDINGS, tf.constant([[0.9, -1.0, -1.0]])]
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(inputs) ** 2)
    # A single phrase always has all the weight, and absent phrases have none.
    for gradient in tape.gradient(loss, layer.trainable_weights):
        np.testing.assert_array_equal(gradient, np.zeros(gradient.shape))


def test_the_other_weightings_have_no_weights():
    for weighting in ("uniform", "similarity"):
        layer = ContextPooling(weighting)
        layer([EMBEDDINGS, tf.zeros([1, 3])])
        assert layer.weights == []


@pytest.mark.parametrize("weighting", ["uniform", "similarity", "attention"])
def test_no_phrase_gives_zeros(weighting):
    context = ContextPooling(weighting)([EMBEDDINGS, -tf.ones([1, 3])])
    np.testing.assert_array_equal(context, [[0.0, 0.0]])


@pytest.mark.parametrize("weighting", ["similarity", "attention"])
def test_layer_contract(weighting):
    check_layer(ContextPooling(weighting, 8.0), [tf.ones([2, 3, 4]), tf.constant([[0.5, 0.2, -1.0]] * 2)])


def test_bad_arguments():
    with pytest.raises(
        ValueError, match="weighting must be one of uniform, similarity, attention, got 'mean'"
    ):
        ContextPooling("mean")
    with pytest.raises(ValueError, match="sharpness must be above 0, got nan"):
        ContextPooling(sharpness=float("nan"))
