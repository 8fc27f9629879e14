"""Encodes pictures as visual features."""

from typing import Any

import tensorflow as tf
import tf_keras as keras

from ctxvision.layers.backbone import (
    Backbone,
    Weights,
    backbone_config,
    build_backbone,
    check_backbone,
    opened,
    with_backbone,
)
from ctxvision.layers.backbone_features import features_of


@keras.saving.register_keras_serializable("ctxvision")
class VisualEncoder(keras.layers.Layer):
    """Computes the bottleneck features of a ConvNet trained on labelled pictures (section 3.4).

    Args:
        backbone: a name, Keras model or its file, or SavedModel folder; see `build_backbone`.
        image_size: side in pixels of the backbone's square input; None means the backbone's own.
        dim: width of a linear mapping on top of the backbone's features (1024 in the method); None adds no mapping.
        pixels: the pixel scale of a backbone that is not given by name, see `build_backbone`.
        weights: for a backbone given by name, None, "imagenet" or a file; see `build_backbone`. They are read once,
            when the layer is made. A saved layer holds its weights itself, so its config has None here.

    Call arguments:
        pixels: [B, H, W, 3], uint8 or float in 0..255, RGB, any height and width (resized inside); or precomputed
            features of the backbone, float [B, D].

    Returns:
        float32 [B, D], the backbone's pooled features, or [B, dim] after the mapping; not L2-normalised.

    Raises:
        ValueError: `dim` is below 1, the backbone is unknown, the weights do not fit, or the pixels have another shape
            or dtype.

    Example:
        >>> encoder = cv.VisualEncoder(backbone="resnet_mini")
        >>> encoder(pixels).shape
        TensorShape([4, 128])
    """

    def __init__(
        self,
        backbone: Backbone = "inception_v3",
        image_size: int | None = None,
        dim: int | None = None,
        pixels: str | None = None,
        weights: Weights = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if dim is not None and dim < 1:
            raise ValueError(
                f"dim must be at least 1, or None for no mapping, got {dim}: the method uses 1024."
            )
        check_backbone(backbone, pixels, weights)
        self.backbone = opened(backbone)
        self.image_size = image_size
        self.dim = dim
        self.pixels = pixels
        self.tower = build_backbone(self.backbone, image_size, pixels, weights)
        self.mapping = None if dim is None else keras.layers.Dense(dim, dtype="float32", name="mapping")

    def call(self, pixels: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        features = features_of(self.tower, pixels, training)
        return features if self.mapping is None else self.mapping(features)

    def over(self, tower: keras.Model) -> "VisualEncoder":
        """Makes a layer with the same settings on top of another backbone, made by `build_backbone`."""
        return VisualEncoder.from_config({**self.get_config(), "backbone": tower})

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "backbone": backbone_config(self.backbone),
            "image_size": self.image_size,
            "dim": self.dim,
            "pixels": self.pixels,
            "weights": None,  # a restored layer gets its weights from the saved model
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "VisualEncoder":
        return cls(**with_backbone(config))
