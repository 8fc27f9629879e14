"""Training seeds all random numbers; a caller's own go on after it."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import tensorflow as tf
from tensorflow.python.eager import context


@contextmanager
def callers_random_state() -> Iterator[None]:
    """Puts the random numbers of the process back at the end, whatever was seeded inside.

    The generators of Python and NumPy go on as if nothing had been drawn. TensorFlow has its global seed again, whose
    sequence of operations begins anew, or none where there was none.
    """
    # TensorFlow has no public function that reads the global seed.
    of_python, of_numpy, of_tensorflow = random.getstate(), np.random.get_state(), context.global_seed()
    try:
        yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)
        tf.random.set_seed(of_tensorflow)
