"""Embeds pictures in the 64-d space of search phrases."""

from typing import Any

import tensorflow as tf
import tf_keras as keras

from ctxvision.layers._batch_norm import batch_norm
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
class PhraseGenerator(keras.layers.Layer):
    """Embeds pictures so that each is close to the phrases that people would search to find it (section 3.2).

    The layer is a ConvNet, a linear bottleneck, batch normalisation without scale and centre, and L2 normalisation.
    Without batch normalisation all cosines become nearly 1 and nothing is learnt. `QueryClassifier` trains the layer.
    The mean embedding of a query's pictures is the query's prototype (Eq. 2).

    Args:
        backbone: a name, Keras model or its file, or SavedModel folder; see `build_backbone`.
        embedding_dim: width of the bottleneck, 64 in the method.
        image_size: side in pixels of the backbone's square input; None means the backbone's own.
        pixels: the pixel scale of a backbone that is not given by name, see `build_backbone`.
        unit_features: whether to L2-normalise the backbone's features first, as two-tower models do.
        weights: for a backbone given by name, None, "imagenet" or a file; see `build_backbone`. They are read once,
            when the layer is made. A saved layer holds its weights itself, so its config has None here.

    Call arguments:
        pixels: [B, H, W, 3], uint8 or float in 0..255, RGB, any height and width (resized inside); or precomputed
            features of the backbone, float [B, D].

    Returns:
        float32 [B, embedding_dim], each row L2-normalised.

    Raises:
        ValueError: `embedding_dim` is below 1, the backbone is unknown, the weights do not fit, or the pixels have
            another shape or dtype.

    Example:
        >>> generator = cv.PhraseGenerator(backbone="resnet_mini")
        >>> generator(pixels).shape
        TensorShape([4, 64])
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
        # Float32 under any dtype policy, because cosines of 64 dimensions are too imprecise in bfloat16.
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
        return {
            **super().get_config(),
            "backbone": backbone_config(self.backbone),
            "embedding_dim": self.embedding_dim,
            "image_size": self.image_size,
            "pixels": self.pixels,
            "unit_features": self.unit_features,
            "weights": None,  # a restored layer gets its weights from the saved model
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "PhraseGenerator":
        return cls(**with_backbone(config))
