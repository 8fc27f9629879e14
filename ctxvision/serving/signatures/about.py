"""Tells the facts of an export to callers who do not see its files."""

import json
from collections.abc import Mapping
from typing import Any

import tensorflow as tf


def about_signature(facts: Mapping[str, Any]) -> tf.types.experimental.GenericFunction:
    """Returns the signature `about`: see `build_signatures`."""
    names = tf.Variable(list(facts), dtype=tf.string, trainable=False, name="fact_names")
    texts = [json.dumps(value, ensure_ascii=False) for value in facts.values()]
    values = tf.Variable([*texts, ""], dtype=tf.string, trainable=False, name="facts")

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="fields")], autograph=False)
    def about(fields: tf.Tensor) -> dict[str, tf.Tensor]:
        same = tf.equal(fields[:, tf.newaxis], names.read_value())
        places = tf.where(tf.reduce_any(same, axis=1), tf.argmax(same, axis=1), len(texts))
        return {"values": tf.gather(values, places)}

    return about
