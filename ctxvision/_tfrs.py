"""Imports TFRS and ScaNN; ScaNN's ops are built for one version of TensorFlow and do not load with another."""

import sys
from typing import Any

import tensorflow as tf


def has_scann() -> bool:
    """Returns whether the scann package is installed and its ops load.

    If the ops do not load, `import scann` raises ImportError from then on.
    """
    try:
        import scann  # noqa: F401
    except (ImportError, tf.errors.NotFoundError):
        # TFRS imports ScaNN if it is installed, and handles only ImportError.
        sys.modules["scann"] = None  # type: ignore[assignment]
        return False
    return True


def load_tfrs() -> Any:
    """Imports and returns `tensorflow_recommenders`, with or without ScaNN."""
    has_scann()
    import tensorflow_recommenders

    return tensorflow_recommenders
