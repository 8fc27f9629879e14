"""Checks and converts the arguments of searches."""

from typing import Any

import tensorflow as tf


def unit_rows(rows: tf.Tensor) -> tf.Tensor:
    """L2-normalises rows of any length, also extreme ones; a row of zeros becomes NaN."""
    return tf.math.l2_normalize(rows / tf.reduce_max(tf.abs(rows), axis=-1, keepdims=True), axis=-1)


def check_setting(name: str, value: Any, most: int | None = None) -> None:
    """Raises a ValueError unless a setting of a search is a whole number of 1 or more, and at most `most` if given."""
    if int(value) != value or value < 1 or (most is not None and value > most):
        rule = "of at least 1" if most is None else f"from 1 to the {most} rows that may be found"
        raise ValueError(f"{name} must be a whole number {rule}, got {value!r}: let tune choose it.")


def checked_k(k: Any, most: int) -> Any:
    """Returns `k`, an int or scalar tensor, checked to be in 1..`most`; a tensor raises InvalidArgumentError."""
    rule = f"k must be a whole number from 1 to {most}, the k of the layer"
    if not isinstance(k, tf.Tensor):
        if int(k) != k or not 1 <= k <= most:
            raise ValueError(f"{rule}, got {k!r}: ask for fewer, or make PrototypeRetrieval with a larger k.")
        return int(k)
    with tf.control_dependencies([tf.debugging.Assert((k >= 1) & (k <= most), [rule + ", got", k])]):
        return tf.identity(k)
