"""Pixels to what a ConvNet sees."""

from typing import Any

import tensorflow as tf
import tf_keras as keras

from ctxvision.layers.backbone import Backbone, Weights, build_backbone, check_backbone, features_of, opened


@keras.saving.register_keras_serializable("ctxvision")
class VisualEncoder(keras.layers.Layer):
    """The bottleneck of a ConvNet trained on labelled pictures (section 3.4).

    Args:
        backbone: a name, Keras model or its file, or SavedModel folder; see `build_backbone`.
        image_size: side in pixels of the backbone's square input; the backbone's own by default.
        dim: width of a linear mapping on top of the backbone's features (1024 in the method), None for none.
        pixels: what a backbone not given by name wants, see `build_backbone`.
        weights: None, "imagenet" or a file, of a backbone given by name; see `build_backbone`. They are read once, when
            the layer is made: a saved layer holds its weights itself, and its config does not name their origin.

    Call arguments:
        pixels: [B, H, W, 3], uint8 or float in 0..255, RGB, any height and width (resized inside); or the backbone's
            features float [B, D] where they are known.

    Returns:
        float32 [B, D], the backbone's pooled features, or [B, dim], what they are mapped to; not normalised.

    Raises:
        ValueError: `dim` below 1, an unknown backbone, weights that do not fit, or pixels of another shape or
            dtype.

    Example:
        >>> VisualEncoder(backbone="resnet_mini")(tf.zeros([2, 72, 72, 3], tf.uint8)).shape
        TensorShape([2, 128])
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
        """A layer of the same settings on top of another backbone, made by `build_backbone`."""
        return VisualEncoder.from_config({**self.get_config(), "backbone": tower})

    def get_config(self) -> dict[str, Any]:
        backbone = self.backbone
        if isinstance(backbone, keras.Model):
            backbone = keras.layers.serialize(backbone)
        return {
            **super().get_config(),
            "backbone": backbone,
            "image_size": self.image_size,
            "dim": self.dim,
            "pixels": self.pixels,
            "weights": None,  # a layer that is made again is given its weights
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "VisualEncoder":
        if isinstance(config["backbone"], dict):
            config = {**config, "backbone": keras.layers.deserialize(config["backbone"])}
        return cls(**config)
