"""Pixels in, phrases out: a context without any taxonomy."""

from typing import NamedTuple

import tensorflow as tf

from ctxvision.layers.phrase_generator import PhraseGenerator
from ctxvision.layers.prototype_retrieval import PrototypeRetrieval


class ContextTagger(NamedTuple):
    """The parts of a context that tell phrases of a picture.

    Attributes:
        phrase_generator: pixels to query embeddings.
        retrieval: already indexed.
    """

    phrase_generator: PhraseGenerator
    retrieval: PrototypeRetrieval

    @property
    def image_size(self) -> int:
        """Side in pixels of the generator's input, to which encoded pictures are decoded."""
        return self.phrase_generator.tower.input_shape[1] or 224

    def embed(self, pixels: tf.Tensor) -> tf.Tensor:
        """Query embeddings float32 [B, embedding_dim], L2-normalised, of pixels [B, H, W, 3] in 0..255."""
        return self.phrase_generator(pixels, training=False)
