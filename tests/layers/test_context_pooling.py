import numpy as np
import pytest
import tensorflow as tf

from ctxvision.layers import ContextPooling
from tests.layer_checks import check_layer

EMBEDDINGS = tf.constant([[[1.0, 0.0], [0.0, 1.0], [9.0, 9.0]]])


def test_uniform_is_the_mean_of_the_phrases_that_are_there():
    context = ContextPooling("uniform")([EMBEDDINGS, tf.constant([[0.9, 0.1, -1.0]])])
    np.testing.assert_allclose(context, [[0.5, 0.5]])


def test_similarity_is_a_softmax_over_scores():
    context = ContextPooling("similarity", sharpness=2.0)([EMBEDDINGS, tf.constant([[0.9, 0.4, -1.0]])])
    first = np.exp(1.8) / (np.exp(1.8) + np.exp(0.8))
    np.testing.assert_allclose(context, [[first, 1 - first]], rtol=1e-5)


@pytest.mark.parametrize("weighting", ["uniform", "similarity"])
def test_no_phrase_gives_zeros(weighting):
    context = ContextPooling(weighting)([EMBEDDINGS, -tf.ones([1, 3])])
    np.testing.assert_array_equal(context, [[0.0, 0.0]])


def test_layer_contract():
    check_layer(ContextPooling("similarity", 8.0), [tf.ones([2, 3, 4]), tf.constant([[0.5, 0.2, -1.0]] * 2)])


def test_bad_arguments():
    with pytest.raises(ValueError, match="weighting must be 'uniform' or 'similarity', got 'mean'"):
        ContextPooling("mean")
    with pytest.raises(ValueError, match="sharpness must be above 0, got nan"):
        ContextPooling(sharpness=float("nan"))
