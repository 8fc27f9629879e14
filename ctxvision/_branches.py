"""Keeps rarely taken branches of a graph apart from the rest."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def apart(branch: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps a rarely taken branch in a single node, because the inlined ops of a branch cost time even if not taken."""
    return tf.function(branch, autograph=False, experimental_attributes={"_noinline": True})
