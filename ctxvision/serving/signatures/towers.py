"""Runs the ConvNets for all signatures."""

from typing import Any

import tensorflow as tf
import tf_keras as keras

from ctxvision.layers.backbone_features import BackboneFeatures, resize_for
from ctxvision.layers.phrase_generator import PhraseGenerator
from ctxvision.layers.visual_encoder import VisualEncoder


class Towers:
    """Runs a phrase generator and a visual encoder; their ConvNets are traced and saved once for all signatures.

    Pixels are [B, H, W, 3], uint8 or float in 0..255, of any size and number, including no pictures. They are resized
    before they enter a traced function, so one trace serves signatures with encoded pictures and those with pixels.

    Args:
        phrase_generator: a built layer.
        visual_encoder: a built layer, which may share the tower of the phrase generator; None for a tagger.
    """

    def __init__(self, phrase_generator: PhraseGenerator, visual_encoder: VisualEncoder | None = None):
        self._towers = [layer.tower for layer in (phrase_generator, visual_encoder) if layer is not None]
        self._layers = [_traced(layer) for layer in (phrase_generator, visual_encoder) if layer is not None]
        self._features = None
        if len(self._towers) == 2 and self._towers[0] is self._towers[1]:
            self._features = _traced(BackboneFeatures(self._towers[0], name="backbone_features"))

    def queries(self, pixels: tf.Tensor) -> tf.Tensor:
        """Computes query embeddings float32 [B, embedding_dim], L2-normalised."""
        return self._run(pixels, 1)[0]

    def both(self, pixels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Computes query embeddings as `queries`, and visual features float32 [B, D]."""
        queries, visual = self._run(pixels, 2)
        return queries, visual

    def _run(self, pixels: tf.Tensor, number: int) -> list[tf.Tensor]:
        """Computes the outputs of the first `number` layers.

        An empty batch runs on one black picture, whose row is dropped, because the convolutions of oneDNN refuse an
        empty batch on some processors.
        """
        batch, shape = tf.shape(pixels)[0], tf.shape(pixels)[1:]
        black = tf.zeros(tf.concat([[1], shape], axis=0), pixels.dtype)
        some = tf.ensure_shape(tf.cond(batch > 0, lambda: pixels, lambda: black), pixels.shape)
        if self._features is None:
            inputs = [resize_for(tower, some) for tower in self._towers[:number]]
        else:
            inputs = number * [self._features(resize_for(self._towers[0], some))]
        return [layer(given)[:batch] for layer, given in zip(self._layers, inputs)]


def _traced(layer: keras.layers.Layer) -> Any:
    return tf.function(lambda pixels: layer(pixels, training=False), autograph=False)
