"""Binds `tf.keras` to Keras 2 (`tf_keras`) before anything uses it."""

import os
import sys


def ensure_keras_2() -> None:
    """Sets `TF_USE_LEGACY_KERAS=1`, which TensorFlow reads at the first use of `tf.keras`.

    Raises:
        ImportError: `tf.keras` is already bound to Keras 3, so that the variable has no effect.
    """
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is None:
        return
    if tensorflow.keras.Model.__module__.partition(".")[0] != "tf_keras":
        raise ImportError(
            "ctxvision needs Keras 2, but tf.keras is bound to Keras 3 already: import ctxvision "
            "before anything that touches tf.keras, or set TF_USE_LEGACY_KERAS=1 in the environment."
        )
