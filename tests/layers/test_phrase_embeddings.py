"""Text embeddings of a vocabulary, looked up by row number."""

import numpy as np
import pytest
import tensorflow as tf

from ctxvision.layers.dual_encoder_text import DualEncoderText
from ctxvision.layers.phrase_embeddings import PhraseEmbeddings, int8_rows
from ctxvision.vocabulary import Ngrams
from tests.layer_checks import check_layer


def test_layer_contract():
    layer = PhraseEmbeddings(2)
    layer.assign(np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32))
    check_layer(layer, tf.constant([[2, -1], [0, 1]]))


def test_rows_are_gathered():
    layer = PhraseEmbeddings(2)
    layer.assign(np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32))
    for dtype in (tf.int32, tf.int64):
        rows = layer(tf.constant([[2, -1], [0, 1]], dtype))
        np.testing.assert_allclose(rows, [[[0.6, 0.8], [0, 0]], [[1, 0], [0, 1]]])
    assert [v.name for v in layer.non_trainable_variables] == ["rows:0"]
    assert layer.trainable_variables == []


def test_assigning_again_reaches_traced_functions():
    layer = PhraseEmbeddings(2)
    layer.assign(np.array([[1, 0], [0, 1]], np.float32))
    traced = tf.function(layer)
    traced(tf.constant([[0]]))
    layer.assign(np.array([[0, -1], [0, 1]], np.float32))
    np.testing.assert_array_equal(traced(tf.constant([[0]])), [[[0, -1]]])
    layer.assign(np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32))
    np.testing.assert_allclose(traced(tf.constant([[2, 0]])), [[[0.6, 0.8], [1, 0]]])


def test_assign_keeps_room_for_2048_rows():
    layer = PhraseEmbeddings(2)
    layer.assign(np.eye(2, dtype=np.float32))
    rows = layer.rows
    assert rows.shape == (2050, 2) and layer.num_rows == 2050
    layer.assign(np.tile(np.array([[0, 1]], np.float32), [2050, 1]))
    assert layer.rows is rows
    np.testing.assert_array_equal(layer(tf.constant([0, 2049])), [[0, 1], [0, 1]])
    layer.assign(np.tile(np.array([[1, 0]], np.float32), [2051, 1]))
    assert layer.rows is not rows and layer.num_rows == 2051 + 2048
    np.testing.assert_array_equal(layer(tf.constant([2050])), [[1, 0]])


def test_half_precision_rows_keep_their_dtype():
    layer = PhraseEmbeddings(2)
    layer.assign(np.array([[0.6, 0.8]], np.float16))
    assert layer.rows.dtype == tf.float16
    found = layer(tf.constant([0, -1]))
    assert found.dtype == tf.float32
    np.testing.assert_array_equal(found, np.array([[0.6, 0.8], [0, 0]], np.float16).astype(np.float32))
    copy = PhraseEmbeddings.from_config(layer.get_config())
    copy.set_weights(layer.get_weights())
    assert copy.rows.dtype == tf.float16
    np.testing.assert_array_equal(copy(tf.constant([0, -1])), found)
    layer.assign(np.array([[0.6, 0.8]], np.float32))
    assert layer.rows.dtype == tf.float32
    np.testing.assert_array_equal(layer(tf.constant([0])), np.array([[0.6, 0.8]], np.float32))


def test_a_copy_has_room_for_rows():
    layer = PhraseEmbeddings(2)
    layer.assign(np.array([[1, 0], [0.6, 0.8]], np.float32))
    copy = PhraseEmbeddings.from_config(layer.get_config())
    copy.set_weights(layer.get_weights())
    np.testing.assert_allclose(copy(tf.constant([1])), [[0.6, 0.8]])


def test_row_numbers_need_no_string_op():
    def string_ops(inputs):
        ops = tf.function(layer).get_concrete_function(inputs).graph.get_operations()
        return [op.type for op in ops if tf.string in [t.dtype for t in (*op.inputs, *op.outputs)]]

    layer = PhraseEmbeddings(2)
    layer.assign(np.eye(2, dtype=np.float32))
    assert string_ops(tf.TensorSpec([None, 3], tf.int32)) == []


def test_int8_rows_keep_their_direction():
    rows = np.random.default_rng(0).normal(size=(50, 40)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rows[7] = 0
    small_rows = int8_rows(rows)
    assert small_rows.dtype == np.int8 and (np.abs(small_rows).max(axis=1)[np.arange(50) != 7] == 127).all()
    layer = PhraseEmbeddings(40)
    layer.assign(small_rows)
    assert layer.rows.dtype == tf.int8 and layer.get_config()["rows_dtype"] == "int8"
    found = layer(tf.constant([list(range(50)), [-1] * 50])).numpy()
    # Rounding is at most half a step of max / 127; over 40 values it changes the cosine by a few thousandths.
    assert ((found[0] * rows).sum(axis=1)[np.arange(50) != 7] > 0.999).all()
    assert not found[0, 7].any() and not found[1].any()
    np.testing.assert_allclose(np.linalg.norm(found[0], axis=1), np.arange(50) != 7, atol=1e-6)
    check_layer(layer, tf.constant([[2, -1], [0, 1]]))


def test_a_call_before_assign():
    with pytest.raises(ValueError, match=r"PhraseEmbeddings has no rows yet: call assign"):
        PhraseEmbeddings(2)(tf.constant([[1]]))


@pytest.mark.parametrize("shape", [(2,), (2, 3), (2, 2, 2), (0, 2)])
def test_rows_of_another_shape(shape):
    with pytest.raises(
        ValueError, match=r"text must be embeddings \[N, 2\] with N at least 1, got an array \["
    ):
        PhraseEmbeddings(2).assign(np.zeros(shape, np.float32))


def test_ngrams_need_an_encoder():
    with pytest.raises(
        ValueError, match=r"text must be embeddings .* got n-grams \[1, 3\] of 9 hash buckets"
    ):
        PhraseEmbeddings(2).assign(Ngrams(np.ones([1, 3], int), 9))


# === Encoded n-grams ===

PHRASES = ["red fox", "größe", "", "a very long phrase of more words than are read", "red fox"]


def encoded_layer(**settings):
    """A layer of `PHRASES` whose encoder has weights in every row."""
    encoder = DualEncoderText(5, hash_buckets=50, max_ngrams=6, character_ngrams=9)
    rng = np.random.default_rng(0)
    encoder.set_weights([rng.normal(size=weight.shape) for weight in encoder.get_weights()])
    layer = PhraseEmbeddings(encoder=encoder, **settings)
    layer.assign(encoder.ngrams(PHRASES))
    return layer


def test_ngrams_are_encoded_as_the_words_are():
    layer = encoded_layer()
    assert layer.dim == 5 and layer.rows.dtype == tf.uint16 and layer.rows.shape == (5 + 2048, 15)
    ids = tf.constant([[0, 1, -1], [2, 3, 4]], tf.int64)
    found = layer(ids).numpy()
    expected = layer.encoder(tf.constant([[*PHRASES[:2], ""], PHRASES[2:]])).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert not found[0, 2].any() and not found[1, 0].any(), "no phrase, and a phrase of no n-grams"
    check_layer(layer, ids)


def test_a_retrained_encoder_reads_the_same_ngrams():
    layer = encoded_layer()
    traced = tf.function(layer)
    before = traced(tf.constant([0])).numpy()
    layer.encoder.ngram_table.assign(tf.reverse(layer.encoder.ngram_table, [0]))
    after = traced(tf.constant([0])).numpy()
    np.testing.assert_allclose(after, layer.encoder(tf.constant(["red fox"])), atol=1e-6)
    assert np.abs(after - before).max() > 0.1


@pytest.mark.parametrize("trainable", [True, False])
def test_a_copy_has_the_encoder_and_the_ngrams(trainable):
    layer = encoded_layer(trainable=trainable)
    copy = PhraseEmbeddings.from_config(layer.get_config())
    copy.set_weights(layer.get_weights())
    np.testing.assert_array_equal(copy(tf.constant([3, 1])), layer(tf.constant([3, 1])))
    assert copy.encoder is not layer.encoder and len(copy.trainable_weights) == 2 * trainable


def test_encoding_compiles_and_needs_no_string_op():
    layer = encoded_layer()
    ids = tf.constant([[2, -1], [0, 1]])
    np.testing.assert_allclose(tf.function(layer, jit_compile=True)(ids), layer(ids), atol=1e-6)
    graph = tf.function(layer).get_concrete_function(tf.TensorSpec([None, 3], tf.int32)).graph
    assert tf.string not in {tensor.dtype for op in graph.get_operations() for tensor in op.outputs}


def test_an_encoder_of_more_buckets_than_uint16_holds():
    with pytest.raises(ValueError, match="encoder must have at most 65,535 hash buckets, got 65,536"):
        PhraseEmbeddings(encoder=DualEncoderText(2, hash_buckets=2**16))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (None, "got none"),
        (np.ones([4, 5], np.float32), r"got an array \[4, 5\]"),
        (Ngrams(np.ones([4, 14], int), 50), r"got n-grams \[4, 14\] of 50 hash buckets"),
        (Ngrams(np.ones([4, 15], int), 60), r"got n-grams \[4, 15\] of 60 hash buckets"),
    ],
)
def test_ngrams_that_the_encoder_does_not_read(text, match):
    with pytest.raises(ValueError, match=r"text must be n-grams \[N, 15\] of 50 hash buckets, " + match):
        encoded_layer().assign(text)


@pytest.mark.parametrize("values", [[[0.5]], [["fox"]]])
def test_ids_that_are_not_integers(values):
    layer = PhraseEmbeddings(2)
    layer.assign(np.eye(2, dtype=np.float32))
    with pytest.raises(ValueError, match=r"ids must be integer row numbers, got dtype (float32|string)"):
        layer(tf.constant(values))


def test_dim_below_1():
    with pytest.raises(ValueError, match="dim must be at least 1, got 0"):
        PhraseEmbeddings(0)
