import numpy as np
import pytest
import tensorflow as tf

from ctxvision.layers import ContextFusion
from tests.layer_checks import check_layer


def relu(x):
    return np.maximum(x, 0)


def test_it_is_the_two_stage_mlp():
    rng = np.random.default_rng(0)
    visual, context = rng.normal(size=(3, 5)), rng.normal(size=(3, 4))
    layer = ContextFusion(num_labels=6, hidden=7)
    probabilities = layer([tf.constant(visual, tf.float32), tf.constant(context, tf.float32)])
    # Fresh batch normalisation has mean 0 and variance 1, hence the epsilon alone.
    parts = [
        relu(x / np.sqrt(1.001) @ stage.kernel.numpy())
        for x, stage in zip((visual, context), layer.stage_1, strict=True)
    ]
    logits = (
        relu(np.concatenate(parts, axis=1) @ layer.stage_2.kernel.numpy()) @ layer.output_stage.kernel.numpy()
    )
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities, expected, rtol=1e-4)


def test_sigmoid_gives_each_label_its_own_probability():
    probabilities = ContextFusion(3, activation="sigmoid")([tf.zeros([1, 2]), tf.zeros([1, 2])])
    np.testing.assert_allclose(probabilities, [[0.5, 0.5, 0.5]])


def test_one_modality_is_the_baseline():
    assert ContextFusion(4)([tf.zeros([2, 3])]).shape == (2, 4)


def test_the_seed_decides_the_weights():
    one, same, other = (ContextFusion(4, seed=s) for s in (1, 1, 2))
    values = [layer([tf.ones([1, 3]), tf.ones([1, 2])]).numpy() for layer in (one, same, other)]
    np.testing.assert_array_equal(values[0], values[1])
    assert not np.allclose(values[0], values[2])


def test_layer_contract():
    check_layer(ContextFusion(4, hidden=5, dropout=0.1, seed=3), [tf.ones([2, 3]), tf.ones([2, 6])])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"num_labels": 1}, "num_labels must be at least 2, got 1"),
        ({"num_labels": 3, "fusion": "sum"}, "fusion must be 'concat', got 'sum'"),
        ({"num_labels": 3, "activation": "relu"}, "activation must be 'softmax' .* got 'relu'"),
        ({"num_labels": 3, "dropout": 1.0}, r"dropout in \[0, 1\), got 256 and 1.0"),
    ],
)
def test_bad_arguments(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        ContextFusion(**arguments)


def test_inputs_must_be_a_list():
    with pytest.raises(ValueError, match=r"inputs must be a list of tensors \[B, D\]"):
        ContextFusion(3)(tf.zeros([2, 3]))
