"""Batch normalisation over the whole batch, on however many devices it lies."""

from typing import Any

import tensorflow as tf
import tf_keras as keras


def batch_norm(**kwargs: Any) -> keras.layers.BatchNormalization:
    """`BatchNormalization` that, made in the scope of a strategy with several replicas, takes the statistics of all.

    Each replica's own statistics would train another model than one device does on the same batches. On one device it
    is the plain layer, whose fused kernel is quicker; weights are the same and fit either. One thing differs: the
    fused kernel's moving variance has N - 1 in its denominator instead of N, the numbers averaged over.
    """
    return keras.layers.BatchNormalization(**kwargs, synchronized=several_replicas())


def synchronized(network: keras.Model) -> keras.Model:
    """A Keras network as it is or, under several replicas, a copy with new weights whose layers are `batch_norm`'s."""
    if not several_replicas():
        return network

    def copied(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        if isinstance(layer, keras.layers.BatchNormalization):
            config |= {"synchronized": True}
        return type(layer).from_config(config)

    return keras.models.clone_model(network, clone_function=copied)


def several_replicas() -> bool:
    """Whether the strategy in whose scope this is called has several replicas."""
    return tf.distribute.get_strategy().num_replicas_in_sync > 1
