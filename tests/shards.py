"""Writes TFRecord shards for tests."""

import tensorflow as tf


def example(**features):
    """Returns a serialized tf.train.Example with lists of str or bytes, or of floats."""
    found = {}
    for name, values in features.items():
        if len(values) and isinstance(values[0], (str, bytes)):
            encoded = [value.encode() if isinstance(value, str) else value for value in values]
            found[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=encoded))
        else:
            found[name] = tf.train.Feature(float_list=tf.train.FloatList(value=values))
    return tf.train.Example(features=tf.train.Features(feature=found)).SerializeToString()


def write_shard(path, records):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    return path
