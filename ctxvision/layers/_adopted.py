"""Makes large variables out of arrays that are filled in NumPy.

A variable that is filled by scatter ops is copied whenever it is read, for example when it is saved.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

# TensorFlow copies arrays that do not begin at a multiple of this many bytes.
_ALIGNMENT = 64


def zeros_to_fill(shape: Sequence[int], dtype: str) -> np.ndarray:
    """Makes zeros that `adopted` takes without a copy."""
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    memory = np.zeros(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)


def adopted(array: np.ndarray, name: str) -> tf.Variable:
    """Makes an untrainable variable that lies in the memory of an array, which must not change afterwards."""
    value = tf.experimental.dlpack.from_dlpack(array.__dlpack__())
    return tf.Variable(value, trainable=False, name=name)
