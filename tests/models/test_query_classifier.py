import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from ctxvision.layers import PhraseGenerator
from ctxvision.models import QueryClassifier


def small_tower(size=8):
    pixels = keras.Input((size, size, 3))
    return keras.Model(pixels, keras.layers.Conv2D(8, 3)(keras.layers.Rescaling(1 / 128.0, -1)(pixels)))


def coloured(num=64, seed=0):
    """Pictures of one colour and the numbers of that colour's two queries."""
    rng = np.random.default_rng(seed)
    colours = np.array([[220, 30, 30], [30, 220, 30], [30, 30, 220]])
    kind = rng.integers(3, size=num)
    pixels = colours[kind][:, None, None, :] + rng.normal(0, 8, (num, 8, 8, 3))
    return pixels.astype(np.float32), np.stack([kind, kind + 3, np.full(num, -1)], 1).astype(np.int32), kind


def classifier(num_queries=6, **kwargs):
    return QueryClassifier(PhraseGenerator(small_tower()), num_queries, **kwargs)


def test_query_numbers_may_be_int64_as_numpy_makes_them():
    pixels, queries, _ = coloured(16)
    losses = []
    for dtype in (np.int32, np.int64):
        keras.utils.set_random_seed(0)
        model = classifier()
        model.compile(keras.optimizers.AdamW(1e-2))
        losses.append(model.fit(pixels, queries.astype(dtype), batch_size=16, verbose=0).history["loss"][0])
    assert losses[0] == pytest.approx(losses[1])


@pytest.mark.parametrize("num_sampled", [None, 4])
def test_it_learns_which_queries_lead_to_a_picture(num_sampled):
    keras.utils.set_random_seed(0)
    pixels, queries, kind = coloured()
    model = classifier(num_sampled=num_sampled)
    model.compile(keras.optimizers.AdamW(1e-2))
    first = model.fit(pixels, queries, batch_size=16, verbose=0).history["loss"][0]
    last = model.fit(pixels, queries, batch_size=16, epochs=25, verbose=0).history["loss"][-1]
    logits = model.predict(pixels, verbose=0)
    assert last < 0.5 * first
    assert (logits.argmax(axis=1) % 3 == kind).mean() > 0.95


def test_logits_are_scaled_cosines():
    model = classifier(scale=7.0)
    logits = model(np.zeros([2, 8, 8, 3], np.float32)).numpy()
    table = model.class_table.table.numpy()
    cosines = (
        model.phrase_generator(np.zeros([2, 8, 8, 3]))
        @ (table / np.linalg.norm(table, axis=1, keepdims=True)).T
    )
    np.testing.assert_allclose(logits, 7.0 * cosines, atol=1e-5)


def test_the_step_compiles_with_xla():
    pixels, queries, _ = coloured(16)
    model = classifier(num_sampled=3)
    model.compile(keras.optimizers.AdamW(1e-3, jit_compile=True), jit_compile=True)
    assert np.isfinite(model.fit(pixels, queries, batch_size=16, verbose=0).history["loss"][0])


def test_training_is_reproducible():
    pixels, queries, _ = coloured(32)
    tables = []
    for _ in range(2):
        keras.utils.set_random_seed(3)
        model = classifier(num_sampled=3, seed=3)
        model.compile(keras.optimizers.AdamW(1e-2))
        model.fit(pixels, queries, batch_size=16, shuffle=False, verbose=0)
        tables.append(model.class_table.table.numpy())
    np.testing.assert_array_equal(*tables)


def test_config_round_trip():
    model = QueryClassifier(
        PhraseGenerator("resnet_mini", image_size=16), 9, scale=5.0, num_sampled=None, seed=4
    )
    again = QueryClassifier.from_config(model.get_config())
    assert again.get_config() == model.get_config()
    assert again.phrase_generator.image_size == 16


def test_bad_arguments():
    with pytest.raises(ValueError, match="num_queries must be at least 2, got 1"):
        classifier(num_queries=1)
    with pytest.raises(
        ValueError, match="num_sampled must be at least 1, or None for the full softmax, got 0"
    ):
        classifier(num_sampled=0)


def test_embeddings_stay_unit_length_on_extreme_pictures():
    """Embeddings of blank, saturated and checkered pictures have L2 norm 1."""
    generator = PhraseGenerator("resnet_mini", image_size=16)
    checkers = np.indices((16, 16)).sum(axis=0) % 2 * 255.0
    pictures = np.stack([np.zeros((16, 16)), np.full((16, 16), 255.0), checkers])[..., None].repeat(
        3, axis=-1
    )
    norms = tf.norm(generator(pictures), axis=-1)
    np.testing.assert_allclose(norms[1:], 1.0, atol=1e-5)
