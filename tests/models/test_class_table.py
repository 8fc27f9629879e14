import numpy as np
import pytest
import tensorflow as tf

from ctxvision.models.class_table import ClassTable


def test_a_step_is_row_wise_adagrad():
    table = ClassTable(4, 2)
    start = table.table.numpy()
    table.update(tf.constant([2, 0]), tf.constant([[3.0, 4.0], [0.0, 0.0]]), 0.1)
    # The mean squared gradient of row 2 is (9 + 16) / 2 = 12.5.
    expected = start.copy()
    expected[2] -= 0.1 * np.array([3.0, 4.0]) / np.sqrt(12.5)
    np.testing.assert_allclose(table.table, expected, rtol=1e-5)
    np.testing.assert_allclose(table.squares, [0, 0, 12.5, 0], rtol=1e-6)


def test_a_row_that_occurs_twice_gets_the_sum_of_its_gradients():
    once, twice = ClassTable(3, 2, seed=1), ClassTable(3, 2, seed=1)
    once.update(tf.constant([1]), tf.constant([[4.0, 2.0]]), 0.1)
    twice.update(tf.constant([1, 0, 1]), tf.constant([[3.0, 0.0], [0.0, 0.0], [1.0, 2.0]]), 0.1)
    np.testing.assert_allclose(twice.table, once.table, rtol=1e-6)
    np.testing.assert_allclose(twice.squares, once.squares, rtol=1e-6)


def test_untouched_rows_keep_their_values():
    table = ClassTable(100, 4)
    start = table.table.numpy()
    table.update(tf.constant([7, 7, 99]), tf.ones([3, 4]), 0.5)
    changed = np.flatnonzero((table.table.numpy() != start).any(axis=1))
    assert changed.tolist() == [7, 99]


def test_the_update_compiled_by_xla_equals_the_eager_update():
    eager, compiled = ClassTable(6, 3, seed=2), ClassTable(6, 3, seed=2)
    classes, gradients = tf.constant([5, 1, 5, 0]), tf.random.stateless_normal([4, 3], [0, 1])
    eager.update(classes, gradients, 0.2)
    tf.function(compiled.update, jit_compile=True)(classes, gradients, 0.2)
    np.testing.assert_allclose(compiled.table, eager.table, rtol=1e-5)


def test_it_has_no_weights_for_the_models_optimizer():
    assert ClassTable(6, 3).trainable_variables == []


def test_blocks_of_initial_values_differ_and_have_the_deviation(monkeypatch):
    monkeypatch.setattr("ctxvision.models.class_table.BLOCK", 500)
    rows = ClassTable(1200, 8, stddev=0.05).table.numpy()
    assert 0.048 < rows.std() < 0.052
    assert len(np.unique(rows[:, 0])) == 1200


def test_float16_learns_from_steps_that_nearest_rounding_would_lose():
    """Float16 values near 1 are 0.00098 apart, and each of 400 steps is about 0.0001 and is rounded at random."""
    small, exact = ClassTable(3, 64, storage="float16"), ClassTable(3, 64)
    for table in (small, exact):
        table.table.assign(tf.ones([3, 64], table.table.dtype))
        table.squares.assign(tf.ones([3]))
        step = tf.function(table.update)
        for _ in range(400):
            step(tf.constant([2, 2, 0]), tf.fill([3, 64], 0.01), 0.01)
    assert small.table.dtype == tf.float16
    moved = 1.0 - small.table.numpy().astype(np.float32)
    expected = 1.0 - exact.table.numpy()
    assert np.float16(1.0) - np.float16(expected[2, 0] / 400) == np.float16(1.0)
    np.testing.assert_array_equal(moved[1], 0)
    # Each of the 64 numbers ends within a few roundings of the exact value, and their mean ends closer.
    np.testing.assert_allclose(moved[2].mean(), expected[2].mean(), rtol=0.03)
    np.testing.assert_allclose(moved[0].mean(), expected[0].mean(), rtol=0.06)
    np.testing.assert_allclose(small.squares, exact.squares, rtol=1e-6)


def test_float16_compiles_with_xla():
    table = ClassTable(6, 3, storage="float16")
    start = table.table.numpy()
    tf.function(table.update, jit_compile=True)(tf.constant([5, 5, 1]), tf.ones([3, 3]), 0.2)
    # For equal gradients, Adagrad's first step is the learning rate itself.
    expected = start.astype(np.float32)
    expected[[1, 5]] -= 0.2
    np.testing.assert_allclose(table.table, expected, atol=3e-4)


def test_an_unknown_storage_is_refused():
    with pytest.raises(ValueError, match="storage must be one of float32, float16, got 'int8'"):
        ClassTable(3, storage="int8")
