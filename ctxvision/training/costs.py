"""Counts the cost of a Keras model from its layers."""

import math

import tf_keras as keras


def forward_flops(model: keras.Model) -> int:
    """Counts the multiplications and additions of a functional model's convolutions and matrices for one picture.

    The count leaves out normalisation, activations and pooling, which take some percent of a ConvNet's time, and the
    contents of a SavedModel.
    """
    total = 0
    for layer in model._flatten_layers(include_self=False):
        for weight in layer.weights if not _has_layers(layer) else ():
            if len(weight.shape) == 4:  # a kernel runs at each position of the layer's output
                total += 2 * math.prod(weight.shape) * math.prod(layer.output_shape[1:3])
            elif len(weight.shape) == 2:
                total += 2 * math.prod(weight.shape)
    return total


def _has_layers(layer: keras.layers.Layer) -> bool:
    return any(True for _ in layer._flatten_layers(include_self=False))
