import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from ctxvision.layers import ContextFusion, TermPlaces
from tests.layer_checks import check_layer


def relu(x):
    return np.maximum(x, 0)


def test_it_is_the_two_stage_mlp():
    rng = np.random.default_rng(0)
    visual, context = rng.normal(size=(3, 5)), rng.normal(size=(3, 4))
    layer = ContextFusion(num_labels=6, fusion="concat", hidden=7)
    probabilities = layer([tf.constant(visual, tf.float32), tf.constant(context, tf.float32)])
    # New batch normalisation has mean 0 and variance 1, so only epsilon matters.
    parts = [
        relu(x / np.sqrt(1.001) @ stage.kernel.numpy())
        for x, stage in zip((visual, context), layer.members[0].stage_1, strict=True)
    ]
    fused = relu(np.concatenate(parts, axis=1) @ layer.members[0].stage_2.kernel.numpy())
    logits = fused @ layer.members[0].output_stage.kernel.numpy()
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities, expected, rtol=1e-4)


def bilinear_parts(layer):
    """Applies random weights to [3, 5] and [3, 4]; returns the first stage's x and y and the second stage's output."""
    rng = np.random.default_rng(1)
    inputs = [rng.normal(size=(3, width)).astype(np.float32) for width in (5, 4)]
    layer(inputs)
    layer.members[0].stage_2.set_weights(
        [rng.normal(size=w.shape) for w in layer.members[0].stage_2.get_weights()]
    )
    x, y = (
        relu(value / np.sqrt(1.001) @ stage.kernel.numpy())
        for value, stage in zip(inputs, layer.members[0].stage_1, strict=True)
    )
    return inputs, x, y


def check_output(layer, inputs, z):
    logits = z @ layer.members[0].output_stage.kernel.numpy()
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(layer(inputs), expected, rtol=1e-4, atol=1e-6)
    compiled = tf.function(layer, jit_compile=True)
    np.testing.assert_allclose(
        compiled([tf.constant(value) for value in inputs]), expected, rtol=1e-4, atol=1e-6
    )


def test_mlb_equals_its_equation():
    layer = ContextFusion(num_labels=6, fusion="mlb", hidden=7, rank=3)
    inputs, x, y = bilinear_parts(layer)
    u, u_bias, v, v_bias, p, p_bias = layer.members[0].stage_2.get_weights()
    assert u.shape == v.shape == (7, 3)
    product = np.einsum("br,br->br", np.tanh(x @ u + u_bias), np.tanh(y @ v + v_bias))
    check_output(layer, inputs, np.einsum("br,rh->bh", product, p) + p_bias)


def test_mutan_is_a_tucker_decomposition_of_the_bilinear_form():
    layer = ContextFusion(num_labels=6, fusion="mutan", hidden=7, rank=2)
    inputs, x, y = bilinear_parts(layer)
    weights = layer.members[0].stage_2.get_weights()
    matrices = [np.vstack([weights[i], weights[i + 1]]) for i in range(0, 8, 2)]  # the last row is the bias
    core = np.einsum("rih,rjh->ijh", np.stack(matrices[:2]), np.stack(matrices[2:]))
    x, y = (np.hstack([value, np.ones([3, 1])]) for value in (x, y))
    check_output(layer, inputs, np.einsum("bi,bj,ijh->bh", x, y, core))


@pytest.mark.parametrize("fusion", ["mlb", "mutan"])
def test_one_modality_is_the_same_for_all_fusions(fusion):
    one = tf.constant(np.random.default_rng(0).normal(size=(4, 3)), tf.float32)
    np.testing.assert_array_equal(ContextFusion(5, fusion)([one]), ContextFusion(5, "concat")([one]))


def test_default_ranks():
    inputs = [tf.zeros([1, 30]), tf.zeros([1, 20])]
    layers = {fusion: ContextFusion(5, fusion) for fusion in ("concat", "mlb", "mutan")}
    for layer in layers.values():
        layer(inputs)
    stages = {fusion: layer.members[0].stage_2.count_params() for fusion, layer in layers.items()}
    assert stages["mlb"] == pytest.approx(stages["concat"], rel=0.01)
    assert stages["mutan"] == 5 * 2 * 256 * 257


def test_sigmoid_gives_each_label_its_own_probability():
    probabilities = ContextFusion(3, activation="sigmoid")([tf.zeros([1, 2]), tf.zeros([1, 2])])
    np.testing.assert_allclose(probabilities, [[0.5, 0.5, 0.5]])


def test_one_modality_is_the_baseline():
    assert ContextFusion(4)([tf.zeros([2, 3])]).shape == (2, 4)


def test_the_seed_determines_the_weights():
    one, same, other = (ContextFusion(4, seed=s) for s in (1, 1, 2))
    values = [layer([tf.ones([1, 3]), tf.ones([1, 2])]).numpy() for layer in (one, same, other)]
    np.testing.assert_array_equal(values[0], values[1])
    assert not np.allclose(values[0], values[2])


def test_weights_of_concat_keep_their_order():
    layer = ContextFusion(4, "concat", hidden=5)
    layer([tf.ones([2, 3]), tf.ones([2, 6])])
    trained = [(3, 5), (5,), (6, 5), (5,), (10, 5), (5,), (5, 4), (4,)]
    assert [tuple(w.shape) for w in layer.weights] == [*trained, (1,), (), (3,), (3,), (6,), (6,)]


def test_the_uniform_share_applies_only_outside_training():
    layer, inputs = ContextFusion(4, hidden=5, dropout=0.0), [tf.ones([2, 3]), tf.ones([2, 6])]
    plain = layer(inputs)
    layer.uniform_share.assign(0.2)
    np.testing.assert_allclose(layer(inputs), 0.8 * plain + 0.05, rtol=1e-6)
    np.testing.assert_allclose(tf.reduce_sum(layer(inputs), axis=1), 1, rtol=1e-6)
    seen = keras.Input([3]), keras.Input([6])
    model = keras.Model(seen, layer(list(seen)))
    np.testing.assert_allclose(model(inputs, training=False), layer(inputs), rtol=1e-6)
    in_training = model(inputs, training=True)
    np.testing.assert_allclose(tf.reduce_sum(in_training, axis=1), 1, rtol=1e-6)
    assert not np.allclose(in_training, layer(inputs), atol=1e-3)
    assert all(weight is not layer.uniform_share for weight in layer.trainable_weights)


@pytest.mark.parametrize("fusion", ["pool", "concat", "mlb", "mutan"])
def test_layer_contract(fusion):
    rank = 2 if fusion in ("mlb", "mutan") else None
    layer = ContextFusion(4, fusion, hidden=5, dropout=0.1, seed=3, rank=rank)
    check_layer(layer, [tf.ones([2, 3]), tf.ones([2, 6])])


def test_layer_contract_with_terms():
    layer = ContextFusion(4, hidden=5, terms=2)
    check_layer(layer, [tf.ones([2, 3]), tf.ones([2, 6]), tf.ones([2, 4])])


def seen(rows=5):
    rng = np.random.default_rng(3)
    return [tf.constant(rng.normal(size=(rows, width)), tf.float32) for width in (3, 6, 4)]


def test_a_pool_is_the_weighted_sum_of_separate_heads():
    layer, inputs = ContextFusion(4, hidden=5), seen()
    layer(inputs)
    layer.member_weights.assign([0.5, 0.0, 2.0])
    alone = []
    for member, value, stages in zip(layer.members, inputs, (0, 2, 1), strict=True):
        single = ContextFusion(4, "concat", hidden=5, stages=[stages])
        single([value])
        single.members[0].set_weights(member.get_weights())
        alone.append(np.log(single([value])))
    expected = np.exp(0.5 * alone[0] + 2 * alone[2])
    np.testing.assert_allclose(layer(inputs), expected / expected.sum(axis=1, keepdims=True), rtol=1e-4)
    assert not any(weight is layer.member_weights for weight in layer.trainable_weights)


def test_labels_score_by_their_closest_term_and_by_the_mean_without_terms():
    layer, inputs = ContextFusion(3, hidden=5, terms=2), seen()
    layer(inputs)
    rng = np.random.default_rng(4)
    places, usual = rng.normal(size=(3, 2, 10)), rng.normal(size=(3, 2))
    layer.label_terms.assign(TermPlaces(places, usual, np.array([1.0, 1.0, 0.0])))
    _, context, query = (value.numpy() for value in inputs)
    about = context / np.linalg.norm(context, axis=1, keepdims=True)
    scores = np.einsum("lnd,bd->bln", places, np.concatenate([query, about], axis=1)) - usual
    expected = scores.max(axis=2)
    expected[:, 2] = expected[:, :2].mean(axis=1)
    np.testing.assert_allclose(layer.member_logits(inputs)[3], expected, rtol=1e-4, atol=1e-5)


def test_hidden_stages_depend_on_the_modality():
    layer, (visual, *_) = ContextFusion(4, hidden=5), seen()
    layer(seen())
    assert [len(member.stage_1) for member in layer.members] == [0, 1, 1]
    assert [member.stage_2 is not None for member in layer.members] == [False, True, False]
    kernel, bias = layer.members[0].output_stage.get_weights()
    # New batch normalisation has mean 0 and variance 1, so only epsilon matters.
    np.testing.assert_allclose(
        layer.members[0]([visual]), visual / np.sqrt(1.001) @ kernel + bias, rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"num_labels": 1}, "num_labels must be at least 2, got 1"),
        ({"num_labels": 3, "fusion": "sum"}, "fusion must be one of pool, concat, mlb, mutan, got 'sum'"),
        ({"num_labels": 3, "rank": 4}, "rank .* only for fusion 'mlb' or 'mutan', got 4 with 'pool'"),
        ({"num_labels": 3, "fusion": "mlb", "rank": 0}, "rank must be at least 1 and .* got 0 with 'mlb'"),
        ({"num_labels": 3, "terms": -1}, "terms must be at least 0 and .* got -1 with 'pool'"),
        (
            {"num_labels": 3, "fusion": "mlb", "terms": 2},
            "terms .* only for fusion 'pool', got 2 with 'mlb'",
        ),
        ({"num_labels": 3, "stages": [3]}, r"stages must be 0, 1 or 2 for each member, got \[3\]"),
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


@pytest.mark.parametrize(
    ("arguments", "inputs", "sentence"),
    [
        ({"stages": [0, 2]}, 3, r"stages must have one number for each of 3 members, got \(0, 2\)"),
        ({}, 4, r"stages must have one number for each of 4 members, got \(0, 2, 1\)"),
        (
            {"fusion": "concat", "stages": [1]},
            2,
            r"stages must be \(2,\) for a joint head of 2 inputs, got \(1,\)",
        ),
        ({"terms": 2}, 2, r"inputs must be \[visual, context, query\] if terms is above 0, got 2"),
    ],
)
def test_members_and_inputs_that_do_not_match(arguments, inputs, sentence):
    with pytest.raises(ValueError, match=sentence):
        ContextFusion(3, **arguments)([tf.zeros([2, 3])] * inputs)


@pytest.mark.parametrize("fusion", ["pool", "concat"])
def test_a_missing_modality(fusion):
    layer = ContextFusion(3, fusion)
    layer(seen())
    with pytest.raises(
        ValueError, match="inputs must be the 3 modalities that the layer was built with, got 2"
    ):
        layer(seen()[:2])


def test_a_bilinear_form_takes_two_inputs():
    with pytest.raises(ValueError, match="fusion 'mlb' takes at most two inputs, got 3: use 'concat'"):
        ContextFusion(3, "mlb")([tf.zeros([2, 3])] * 3)
