"""Phrases of pictures from a context, without a taxonomy."""

from typing import NamedTuple

import tensorflow as tf

from ctxvision.layers.phrase_generator import PhraseGenerator
from ctxvision.layers.prototype_retrieval import PrototypeRetrieval


class ContextTagger(NamedTuple):
    """The parts of a context that find the phrases of a picture.

    Attributes:
        phrase_generator: layer from pixels to query embeddings.
        retrieval: an indexed layer.

    Example:
        >>> context = cv.Context("contexts/web")
        >>> tagger = cv.ContextTagger(context.phrase_generator, context.retrieval(k=3))
        >>> tagger.retrieval(tagger.embed(pixels)).phrases.shape
        TensorShape([4, 3])
    """

    phrase_generator: PhraseGenerator
    retrieval: PrototypeRetrieval

    @property
    def image_size(self) -> int:
        """Side in pixels to which encoded pictures are decoded: the generator's input, or 224 if it takes any size."""
        return self.phrase_generator.tower.input_shape[1] or 224

    def embed(self, pixels: tf.Tensor) -> tf.Tensor:
        """Returns query embeddings float32 [B, embedding_dim], L2-normalised, of pixels [B, H, W, 3] in 0..255."""
        return self.phrase_generator(pixels, training=False)
