"""Limits the rows that a search may find, by language, flags and denied ids."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

# The attributes of a row are one integer: the language's number in the low bits, and a bit per flag above.
LANGUAGE_BITS = 16
MOST_LANGUAGES = 1 << LANGUAGE_BITS
MOST_FLAGS = 15


class PhraseFilter(NamedTuple):
    """A filter for calls of `PrototypeRetrieval`, made by its `filter`; it holds only numbers, so XLA compiles it.

    Attributes:
        languages: bool [languages of the index], True for languages that may be found.
        required: int32 [], bits of the flags that must be set.
        denied: int32 [], bits of the flags that must not be set.
        deny_ids: int32 [M], rows that must not be found.
    """

    languages: tf.Tensor
    required: tf.Tensor
    denied: tf.Tensor
    deny_ids: tf.Tensor

    def admits(self, ids: tf.Tensor, attributes: tf.Tensor) -> tf.Tensor:
        """Tells whether each row may be found.

        Args:
            ids: int32, any shape; -1 is never admitted.
            attributes: int32 [N], the attributes of all rows.

        Returns:
            bool, the shape of `ids`.
        """
        own = tf.gather(attributes, tf.maximum(ids, 0))
        flags = tf.bitwise.right_shift(own, LANGUAGE_BITS)
        admitted = (ids >= 0) & tf.gather(self.languages, tf.bitwise.bitwise_and(own, MOST_LANGUAGES - 1))
        admitted &= tf.equal(tf.bitwise.bitwise_and(flags, self.required), self.required)
        admitted &= tf.equal(tf.bitwise.bitwise_and(flags, self.denied), 0)
        # The appended maximum, which no id equals, is the search result for ids above all denied ones.
        denied = tf.sort(tf.concat([self.deny_ids, [tf.int32.max]], axis=0))
        flat = tf.reshape(ids, [-1])
        at = tf.gather(denied, tf.searchsorted(denied, flat))
        return admitted & tf.not_equal(tf.reshape(at, tf.shape(ids)), ids)


def attributes_of(
    language_ids: np.ndarray, flags: Mapping[str, np.ndarray], names: Sequence[str]
) -> np.ndarray:
    """Packs int [N] languages and bool [N] flags into int32 [N] attributes; `names` gives the order of the bits."""
    attributes = np.asarray(language_ids).astype(np.int32)
    for bit, name in enumerate(names):
        attributes |= np.asarray(flags[name]).astype(np.int32) << (LANGUAGE_BITS + bit)
    return attributes


def flag_bits(wanted: Any, names: Sequence[str]) -> tf.Tensor:
    """Computes the bits of the flags named in `wanted`, str [M] or a string tensor, as int32 [].

    Raises:
        ValueError: a name is not a flag of the table; InvalidArgumentError in a graph.
    """
    if not isinstance(wanted, tf.Tensor):
        other = [name for name in wanted if name not in names]
        if other:
            raise ValueError(
                f"flags must be columns of the table, {list(names)}, got {other[0]!r}: correct it."
            )
        return tf.constant(sum(1 << names.index(name) for name in set(wanted)), tf.int32)
    same = tf.equal(wanted[:, tf.newaxis], tf.constant(list(names), tf.string)[tf.newaxis])
    known = tf.debugging.Assert(
        tf.reduce_all(tf.reduce_any(same, axis=1)),
        [f"flags must be columns of the table, {list(names)}, got", wanted],
    )
    with tf.control_dependencies([known] if known is not None else []):
        bits = tf.constant([1 << bit for bit in range(len(names))], tf.int32)
        return tf.reduce_sum(tf.where(tf.reduce_any(same, axis=0), bits, 0))
