import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from ctxvision.layers.dual_encoder_text import DualEncoderText
from tests.layer_checks import check_layer

FRESH = ("tensorflow", "tensorflow_text")


def small(**kwargs):
    return DualEncoderText(**{"dim": 2, "hash_buckets": 50, "max_ngrams": 4, **kwargs})


def with_weights(table, attention):
    layer = small(hash_buckets=len(table) - 1)
    layer.ngram_table.assign(table)
    layer.attention.assign(attention)
    return layer


def test_layer_contract_for_phrases():
    check_layer(small(), tf.constant(["red fox", "", "Fox"]), fresh_process_imports=FRESH)


def test_attention_pooling_by_hand():
    # Scores ln 3 and 0 give weights 3/4 and 1/4: (3/4 · 3, 1/4 · 4) = (9, 4) / 4, of length √97 / 4.
    layer = with_weights([[100, 100], [3, 0], [0, 4]], [np.log(3) / 3, 0])
    encoded = layer.encode(tf.constant([[1, 2, 0, 0], [0, 0, 0, 0], [2, 2, 2, 0]]))
    np.testing.assert_allclose(encoded, [[9 / 97**0.5, 4 / 97**0.5], [0, 0], [0, 1]], atol=1e-6)


def test_unigrams_then_bigrams_are_hashed():
    def hashed(*ngrams):
        return [int(i) + 1 for i in tf.strings.to_hash_bucket_fast(list(ngrams), 1000)]

    layer = small(hash_buckets=1000, max_ngrams=5)
    ids = layer.ngram_ids(tf.constant(["red fox", "  Red\tFOX ", "fox red", "a b c d", "fox", ""]))
    assert ids.dtype == tf.int32
    assert ids.numpy().tolist() == [
        hashed("red", "fox", "red fox") + [0, 0],
        hashed("red", "fox", "red fox") + [0, 0],
        hashed("fox", "red", "fox red") + [0, 0],
        hashed("a", "b", "c", "d", "a b"),
        hashed("fox") + [0, 0, 0, 0],
        [0, 0, 0, 0, 0],
    ]


def test_unicode_forms_and_cases_are_equal():
    phrases = tf.constant(["CAFE\u0301", "caf\u00e9", "\u00c9t\u00e9", "e\u0301te\u0301"])
    ids = small().ngram_ids(phrases).numpy()
    assert ids[0].tolist() == ids[1].tolist() and ids[2].tolist() == ids[3].tolist()
    assert ids[0].tolist() != ids[2].tolist()


def test_bytes_that_are_not_utf8_are_embedded():
    assert np.linalg.norm(small()(tf.constant([b"\xff\xfe fox"]))) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("shape", [(3,), (3, 2), (3, 2, 2), (0,)])
def test_shapes_and_lengths(shape):
    layer = small()
    embeddings = layer(tf.fill(shape, "golden fish"))
    assert embeddings.shape == (*shape, 2) and layer.ngram_ids(tf.fill(shape, "fish")).shape == (*shape, 4)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=-1), np.ones(shape), atol=1e-6)


def test_empty_text_is_a_zero_vector():
    embeddings = small()(tf.constant([["", "fox"], ["  ", "\t\n"]])).numpy()
    np.testing.assert_array_equal(embeddings[[0, 1, 1], [0, 0, 1]], np.zeros((3, 2)))
    assert np.linalg.norm(embeddings[0, 1]) == pytest.approx(1, abs=1e-6)


def test_unknown_batch_size_in_a_functional_model():
    phrases = keras.Input((None,), dtype=tf.string)
    model = keras.Model(phrases, small()(phrases))
    assert model.output_shape == (None, None, 2)
    assert model(tf.constant([["a", "b", "c"]])).shape == (1, 3, 2)


def test_gradient_is_sparse_finite_and_leaves_padding_alone():
    layer = small()
    layer.attention.assign([0.3, -0.2])
    ids = tf.concat([layer.ngram_ids(tf.constant(["red fox", "fox"])), tf.zeros([1, 4], tf.int32)], axis=0)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer.encode(ids) * [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    table, attention = tape.gradient(loss, [layer.ngram_table, layer.attention])
    assert isinstance(table, tf.IndexedSlices)
    dense = tf.convert_to_tensor(table).numpy()
    assert np.isfinite(dense).all() and np.isfinite(attention).all()
    assert not dense[0].any() and dense[ids[1, 0]].any()


@pytest.mark.parametrize("values", [[[0.5]], [[True]], [[1]]])
def test_other_dtypes(values):
    with pytest.raises(
        ValueError, match=r"phrases must be strings, got dtype (float32|bool|int32): use PhraseEmbeddings"
    ):
        small()(tf.constant(values))


@pytest.mark.parametrize("name", ["dim", "hash_buckets", "max_ngrams"])
def test_arguments_below_1(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        small(**{name: 0})


def test_float32_under_a_mixed_policy():
    assert small(dtype="mixed_bfloat16")(tf.constant(["fox"])).dtype == tf.float32


def test_layer_contract_with_character_ngrams():
    layer = small(character_ngrams=6)
    check_layer(layer, tf.constant(["red fox", "", "Fox"]), fresh_process_imports=FRESH)


def test_characters_come_after_words():
    def hashed(*ngrams):
        return [int(i) + 1 for i in tf.strings.to_hash_bucket_fast(list(ngrams), 1000)]

    layer = small(hash_buckets=1000, max_ngrams=3, character_ngrams=5)
    ids = layer.ngram_ids(tf.constant([["Fox é"], ["a b"], [""], ["badger"]]))
    assert ids.shape == (4, 1, 8) and ids.dtype == tf.int32
    assert ids[:, 0].numpy().tolist() == [
        hashed("fox", "é", "fox é", "#<fo", "#fox", "#ox>", "#<é>") + [0],
        hashed("a", "b", "a b", "#<a>", "#<b>") + [0, 0, 0],
        [0] * 8,
        hashed("badger") + [0, 0] + hashed("#<ba", "#bad", "#adg", "#dge", "#ger"),
    ]


def test_only_character_ngrams_bring_a_misspelt_word_near():
    words = tf.constant(["butterfly", "buterfly", "hedgehog"])
    for characters, lowest, highest in ((0, -0.3, 0.3), (20, 0.4, 0.99)):
        layer = small(dim=200, hash_buckets=5000, character_ngrams=characters)
        encoded = layer(words).numpy()
        assert lowest < encoded[0] @ encoded[1] < highest
        assert abs(encoded[0] @ encoded[2]) < 0.3


def test_bytes_that_are_not_utf8_have_character_ngrams():
    assert np.linalg.norm(small(character_ngrams=4)(tf.constant([b"\xff\xfe fox"]))) == pytest.approx(
        1, abs=1e-6
    )


def test_character_ngrams_below_0():
    with pytest.raises(ValueError, match="character_ngrams must be at least 0, got -1"):
        small(character_ngrams=-1)


def test_phrases_in_several_axes_are_embedded_as_in_one():
    """At the method's sizes, where broadcasting over several axes has corrupted memory."""
    layer = DualEncoderText(dim=200, character_ngrams=32)
    layer.attention.assign(tf.random.stateless_normal([200], seed=[0, 0]))
    ids = np.random.default_rng(0).integers(0, 2**15, (150, 6, 48)).astype(np.int32)
    expected = layer.encode(ids.reshape(-1, 48)).numpy()
    for _ in range(20):
        np.testing.assert_array_equal(layer.encode(tf.constant(ids)).numpy().reshape(-1, 200), expected)
