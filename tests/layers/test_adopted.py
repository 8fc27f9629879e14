"""Variables lie in the memory of the arrays that filled them."""

import numpy as np
import pytest
import tensorflow as tf

from ctxvision.layers._adopted import adopted, zeros_to_fill


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "int32", "uint16"])
def test_a_variable_has_the_array_without_a_copy(dtype):
    array = zeros_to_fill([50, 3, 7], dtype)
    assert not array.any()
    array[:] = np.arange(1050).reshape(50, 3, 7) % 100
    expected = array.copy()
    variable = adopted(array, "rows")
    assert (variable.dtype, variable.name, variable.trainable) == (tf.as_dtype(dtype), "rows:0", False)
    np.testing.assert_array_equal(variable.numpy(), expected)
    array[3, 1, 2] = 77
    assert variable[3, 1, 2].numpy() == 77


def test_a_variable_changes_and_outlives_the_array():
    array = zeros_to_fill([1000, 64], "float16")
    array[5] = 1
    variable = adopted(array, "rows")
    del array
    variable.scatter_nd_update([[7]], [np.full(64, 2, np.float16)])
    assert [float(variable[row, 0]) for row in (5, 6, 7)] == [1, 0, 2]


def test_no_rows():
    assert adopted(zeros_to_fill([0, 4], "float32"), "rows").shape == [0, 4]
