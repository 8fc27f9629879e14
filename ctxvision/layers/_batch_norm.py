"""Batch normalisation over the whole batch, on one or several devices."""

from typing import Any

import tensorflow as tf
import tf_keras as keras


def batch_norm(**kwargs: Any) -> keras.layers.BatchNormalization:
    """Makes a `BatchNormalization` layer that uses the statistics of all replicas of the current strategy.

    With statistics per replica, several devices would train another model than one device on the same batches. On one
    device this is the plain layer, whose fused kernel is faster; the weights are the same. Only the moving variance
    differs: the fused kernel divides by N - 1 instead of N, the number of averaged values.
    """
    return keras.layers.BatchNormalization(**kwargs, synchronized=several_replicas())


def synchronized(network: keras.Model) -> keras.Model:
    """Returns a network unchanged or, for several replicas, a copy with new weights and `batch_norm` layers."""
    if not several_replicas():
        return network

    def copied(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        if isinstance(layer, keras.layers.BatchNormalization):
            config |= {"synchronized": True}
        return type(layer).from_config(config)

    return keras.models.clone_model(network, clone_function=copied)


def several_replicas() -> bool:
    """Tells whether the current strategy has several replicas."""
    return tf.distribute.get_strategy().num_replicas_in_sync > 1
