"""Restores the caller's random state after training, which seeds all generators."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import tensorflow as tf
from tensorflow.python.eager import context


@contextmanager
def callers_random_state() -> Iterator[None]:
    """Restores the random state of the process at the end.

    The generators of Python and NumPy continue as if nothing had been drawn. TensorFlow gets its earlier global seed,
    or none; with a seed, its sequence of operation seeds starts again.
    """
    # TensorFlow has no public function that reads the global seed.
    of_python, of_numpy, of_tensorflow = random.getstate(), np.random.get_state(), context.global_seed()
    try:
        yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)
        tf.random.set_seed(of_tensorflow)
