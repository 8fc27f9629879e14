import random

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from tensorflow.python.eager import context

from ctxvision.training.random_state import callers_random_state


def drawn():
    return random.random(), np.random.random()


@pytest.mark.parametrize("seed", [None, 11])
def test_training_restores_the_callers_random_state(seed):
    before = context.global_seed()
    try:
        tf.random.set_seed(seed)
        random.seed(1)
        np.random.seed(2)
        expected = [drawn() for _ in range(3)]
        random.seed(1)
        np.random.seed(2)
        found = [drawn()]
        with callers_random_state():
            keras.utils.set_random_seed(7)
            drawn()
        found.append(drawn())
        with pytest.raises(ZeroDivisionError), callers_random_state():
            keras.utils.set_random_seed(7)
            raise ZeroDivisionError
        found.append(drawn())
        assert found == expected
        assert context.global_seed() == seed
    finally:
        tf.random.set_seed(before)
