"""Pixels to what a ConvNet sees."""

from typing import Any

import tensorflow as tf
import tf_keras as keras

from ctxvision.layers.backbone import Backbone, build_backbone, resize_for


@keras.saving.register_keras_serializable("ctxvision")
class VisualEncoder(keras.layers.Layer):
    """The bottleneck of a ConvNet trained on labelled pictures (section 3.4).

    Args:
        backbone: a name, Keras model or SavedModel folder; see `build_backbone`.
        image_size: side in pixels of the backbone's square input; the backbone's own by default.

    Call arguments:
        pixels: [B, H, W, 3], uint8 or float in 0..255, RGB, any height and width (resized inside).

    Returns:
        float32 [B, D], the backbone's pooled features, not normalised.

    Raises:
        ValueError: an unknown backbone, or pixels of another shape or dtype.

    Example:
        >>> VisualEncoder(backbone="resnet_mini")(tf.zeros([2, 72, 72, 3], tf.uint8)).shape
        TensorShape([2, 192])
    """

    def __init__(self, backbone: Backbone = "inception_v3", image_size: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.backbone = backbone
        self.image_size = image_size
        self.tower = build_backbone(backbone, image_size)

    def call(self, pixels: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return tf.cast(self.tower(resize_for(self.tower, pixels), training=training), tf.float32)

    def get_config(self) -> dict[str, Any]:
        backbone = self.backbone
        if isinstance(backbone, keras.Model):
            backbone = keras.saving.serialize_keras_object(backbone)
        return {**super().get_config(), "backbone": backbone, "image_size": self.image_size}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "VisualEncoder":
        if isinstance(config["backbone"], dict):
            config = {**config, "backbone": keras.saving.deserialize_keras_object(config["backbone"])}
        return cls(**config)
