"""TFRS and ScaNN, whose ops are built for one version of TensorFlow: beside another one they do not load."""

import sys
from typing import Any

import tensorflow as tf


def has_scann() -> bool:
    """Whether the scann package is installed and its ops load. Where they do not, `import scann` raises ImportError
    from then on.
    """
    try:
        import scann  # noqa: F401
    except (ImportError, tf.errors.NotFoundError):
        # TFRS imports ScaNN where it finds it, and expects no other error than ImportError.
        sys.modules["scann"] = None  # type: ignore[assignment]
        return False
    return True


def load_tfrs() -> Any:
    """The module `tensorflow_recommenders`, with or without ScaNN."""
    has_scann()
    import tensorflow_recommenders

    return tensorflow_recommenders
