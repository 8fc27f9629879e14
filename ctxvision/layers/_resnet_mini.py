"""A small residual network for CPUs."""

from typing import Any

import tf_keras as keras

from ctxvision.layers._batch_norm import batch_norm


def resnet_mini(size: int) -> keras.Model:
    """Builds a stride-2 stem and three residual stages of 32, 64 and 128 channels."""

    def convolution(x: Any, channels: int, kernel: int, stride: int) -> Any:
        x = keras.layers.Conv2D(
            channels, kernel, stride, "same", use_bias=False, kernel_initializer="he_normal"
        )(x)
        return batch_norm(momentum=0.95)(x)

    pixels = keras.Input((size, size, 3), name="pixels")
    x = keras.layers.Rescaling(1 / 64.0, offset=-2.0)(pixels)
    x = keras.layers.ReLU()(convolution(x, 16, 3, 2))
    for channels, stride in ((32, 1), (64, 2), (128, 2)):
        shortcut = convolution(x, channels, 1, stride)
        x = keras.layers.ReLU()(convolution(x, channels, 3, stride))
        x = keras.layers.ReLU()(keras.layers.Add()([convolution(x, channels, 3, 1), shortcut]))
    return keras.Model(pixels, keras.layers.GlobalAveragePooling2D()(x), name="resnet_mini")
