"""Pixels to the 64-d space of search phrases."""

from typing import Any

import tensorflow as tf
import tf_keras as keras

from ctxvision.layers._batch_norm import batch_norm
from ctxvision.layers.backbone import Backbone, Weights, build_backbone, check_backbone, features_of, opened


@keras.saving.register_keras_serializable("ctxvision")
class PhraseGenerator(keras.layers.Layer):
    """Embeds pictures where the phrases that people would search for them lie near (section 3.2).

    A ConvNet, then a linear bottleneck, then batch normalisation without scale and centre (without it all
    cosines end up near 1 and nothing is learnt), then L2 normalisation. `QueryClassifier` trains it; the mean
    embedding of a query's pictures is that query's prototype (Eq. 2).

    Args:
        backbone: a name, Keras model or its file, or SavedModel folder; see `build_backbone`.
        embedding_dim: width of the bottleneck, 64 in the method.
        image_size: side in pixels of the backbone's square input; the backbone's own by default.
        pixels: what a backbone not given by name wants, see `build_backbone`.
        unit_features: whether the backbone's features are L2-normalised first, as those of two-tower models are.
        weights: None, "imagenet" or a file, of a backbone given by name; see `build_backbone`. They are read once, when
            the layer is made: a saved layer holds its weights itself, and its config does not name their origin.

    Call arguments:
        pixels: [B, H, W, 3], uint8 or float in 0..255, RGB, any height and width (resized inside); or the backbone's
            features float [B, D] where they are known.

    Returns:
        float32 [B, embedding_dim], each row L2-normalised.

    Raises:
        ValueError: `embedding_dim` below 1, an unknown backbone, weights that do not fit, or pixels of another shape or
            dtype.

    Example:
        >>> PhraseGenerator(backbone="resnet_mini")(tf.zeros([2, 72, 72, 3], tf.uint8)).shape
        TensorShape([2, 64])
    """

    def __init__(
        self,
        backbone: Backbone = "resnet101",
        embedding_dim: int = 64,
        image_size: int | None = None,
        pixels: str | None = None,
        unit_features: bool = False,
        weights: Weights = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if embedding_dim < 1:
            raise ValueError(f"embedding_dim must be at least 1, got {embedding_dim}: the method uses 64.")
        check_backbone(backbone, pixels, weights)
        self.backbone = opened(backbone)
        self.embedding_dim = embedding_dim
        self.image_size = image_size
        self.pixels = pixels
        self.unit_features = unit_features
        self.tower = build_backbone(self.backbone, image_size, pixels, weights)
        # Float32 whatever the policy: cosines of 64 dimensions do not survive bfloat16.
        self.bottleneck = keras.layers.Dense(
            embedding_dim, use_bias=False, dtype="float32", name="bottleneck"
        )
        self.whiten = batch_norm(scale=False, center=False, momentum=0.95, dtype="float32", name="whiten")

    def call(self, pixels: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        features = features_of(self.tower, pixels, training)
        if self.unit_features:
            features = tf.math.l2_normalize(features, axis=-1)
        embedding = self.whiten(self.bottleneck(features), training=training)
        return tf.math.l2_normalize(embedding, axis=-1)

    def get_config(self) -> dict[str, Any]:
        backbone = self.backbone
        if isinstance(backbone, keras.Model):
            backbone = keras.layers.serialize(backbone)
        return {
            **super().get_config(),
            "backbone": backbone,
            "embedding_dim": self.embedding_dim,
            "image_size": self.image_size,
            "pixels": self.pixels,
            "unit_features": self.unit_features,
            "weights": None,  # a layer that is made again is given its weights
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "PhraseGenerator":
        if isinstance(config["backbone"], dict):
            config = {**config, "backbone": keras.layers.deserialize(config["backbone"])}
        return cls(**config)
