"""What a Keras model costs, counted from its layers."""

import math

import tf_keras as keras


def forward_flops(model: keras.Model) -> int:
    """Multiplications and additions that one picture takes in the convolutions and matrices of a functional model.

    Normalisation, activations and pooling, some percent of a ConvNet's time, are left out, and so is what a SavedModel
    holds.
    """
    total = 0
    for layer in model._flatten_layers(include_self=False):
        for weight in layer.weights if not _has_layers(layer) else ():
            if len(weight.shape) == 4:  # a kernel is used at each place of what comes out
                total += 2 * math.prod(weight.shape) * math.prod(layer.output_shape[1:3])
            elif len(weight.shape) == 2:
                total += 2 * math.prod(weight.shape)
    return total


def _has_layers(layer: keras.layers.Layer) -> bool:
    return any(True for _ in layer._flatten_layers(include_self=False))
