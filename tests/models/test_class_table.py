import numpy as np
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


def test_a_row_named_twice_gets_the_sum_of_its_gradients():
    once, twice = ClassTable(3, 2, seed=1), ClassTable(3, 2, seed=1)
    once.update(tf.constant([1]), tf.constant([[4.0, 2.0]]), 0.1)
    twice.update(tf.constant([1, 0, 1]), tf.constant([[3.0, 0.0], [0.0, 0.0], [1.0, 2.0]]), 0.1)
    np.testing.assert_allclose(twice.table, once.table, rtol=1e-6)
    np.testing.assert_allclose(twice.squares, once.squares, rtol=1e-6)


def test_rows_not_named_stay():
    table = ClassTable(100, 4)
    start = table.table.numpy()
    table.update(tf.constant([7, 7, 99]), tf.ones([3, 4]), 0.5)
    changed = np.flatnonzero((table.table.numpy() != start).any(axis=1))
    assert changed.tolist() == [7, 99]


def test_the_update_compiles_with_xla_and_agrees():
    eager, compiled = ClassTable(6, 3, seed=2), ClassTable(6, 3, seed=2)
    classes, gradients = tf.constant([5, 1, 5, 0]), tf.random.stateless_normal([4, 3], [0, 1])
    eager.update(classes, gradients, 0.2)
    tf.function(compiled.update, jit_compile=True)(classes, gradients, 0.2)
    np.testing.assert_allclose(compiled.table, eager.table, rtol=1e-5)


def test_it_has_no_weights_for_the_models_optimizer():
    assert ClassTable(6, 3).trainable_variables == []
