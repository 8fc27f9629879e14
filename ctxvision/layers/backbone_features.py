"""The features that a backbone computes of pixels of any size and type."""

from typing import Any

import tensorflow as tf
import tf_keras as keras


def features_of(backbone: keras.Model, pixels: tf.Tensor, training: bool | None) -> tf.Tensor:
    """Computes features float32 [B, D] of pixels as in `resize_for`; casts and returns precomputed features [B, D]."""
    pixels = tf.convert_to_tensor(pixels)
    if pixels.shape.rank == 2 and pixels.dtype.is_floating:
        if pixels.shape[-1] != backbone.output_shape[-1]:
            raise ValueError(
                f"features must have the backbone's shape [B, {backbone.output_shape[-1]}], got {tuple(pixels.shape)}: "
                f"give pixels [B, H, W, 3], or features of this backbone."
            )
        return tf.cast(pixels, tf.float32)
    return tf.cast(backbone(resize_for(backbone, pixels), training=training), tf.float32)


def resize_for(backbone: keras.Model, pixels: tf.Tensor) -> tf.Tensor:
    """Resizes pixels [B, H, W, 3], uint8 or float in 0..255, to the backbone's input size, as float32."""
    pixels = tf.convert_to_tensor(pixels)
    if pixels.shape.rank != 4 or pixels.shape[-1] not in (3, None):
        raise ValueError(
            f"pixels must have shape [B, H, W, 3], got {pixels.shape}: add the batch axis and convert to RGB."
        )
    if pixels.dtype != tf.uint8 and not pixels.dtype.is_floating:
        raise ValueError(
            f"pixels must be uint8 or float in 0..255, got dtype {pixels.dtype.name}: cast them first."
        )
    size = tuple(backbone.input_shape[1:3])
    pixels = tf.cast(pixels, tf.float32)
    if None in size or tuple(pixels.shape[1:3]) == size:
        return pixels
    return tf.image.resize(pixels, size, method="bilinear", antialias=True)


class BackboneFeatures(keras.layers.Layer):
    """Computes the features of a backbone that both towers share, see `features_of`, float32 [B, D]."""

    def __init__(self, backbone: keras.Model, **kwargs: Any):
        super().__init__(**kwargs)
        self.backbone = backbone

    def call(self, pixels: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return features_of(self.backbone, pixels, training)
