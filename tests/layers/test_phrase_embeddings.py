"""Text embeddings of a vocabulary, looked up by row number."""

import numpy as np
import pytest
import tensorflow as tf

from ctxvision.layers.phrase_embeddings import PhraseEmbeddings, int8_rows
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
    with pytest.raises(ValueError, match=r"must have shape \[N, 2\] with N at least 1, got \("):
        PhraseEmbeddings(2).assign(np.zeros(shape, np.float32))


@pytest.mark.parametrize("values", [[[0.5]], [["fox"]]])
def test_ids_that_are_not_integers(values):
    layer = PhraseEmbeddings(2)
    layer.assign(np.eye(2, dtype=np.float32))
    with pytest.raises(ValueError, match=r"ids must be integer row numbers, got dtype (float32|string)"):
        layer(tf.constant(values))


def test_dim_below_1():
    with pytest.raises(ValueError, match="dim must be at least 1, got 0"):
        PhraseEmbeddings(0)
