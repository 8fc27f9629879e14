"""Query embeddings in, context vectors out: retrieve, embed, pool (section 3.3)."""

from typing import Any, NamedTuple

import tensorflow as tf

from ctxvision.layers.context_pooling import ContextPooling
from ctxvision.layers.phrase_embeddings import PhraseEmbeddings
from ctxvision.layers.prototype_retrieval import PrototypeRetrieval


class FoundContext(NamedTuple):
    """The phrases of each picture and their context vector.

    Attributes:
        ids: int32 [B, k], row numbers of the phrase table, -1 for a missing phrase.
        scores: float32 [B, k], descending; -1 for a missing phrase.
        embeddings: float32 [B, k, T], L2-normalised text embeddings of the phrases; zeros for a missing phrase.
        vector: float32 [B, T], the context vector, not normalised; zeros for a picture without phrases.
    """

    ids: tf.Tensor
    scores: tf.Tensor
    embeddings: tf.Tensor
    vector: tf.Tensor


class PhraseContext(NamedTuple):
    """Turns query embeddings into context vectors: retrieves phrases, embeds them, pools them.

    Attributes:
        retrieval: an indexed layer.
        embeddings: text embeddings of the phrases of the same table.
        pooling: layer from the phrases' embeddings to the context vector.
    """

    retrieval: PrototypeRetrieval
    embeddings: PhraseEmbeddings
    pooling: ContextPooling

    def find(self, queries: tf.Tensor, **asked: Any) -> FoundContext:
        """Finds the phrases of query embeddings, without strings, so that XLA compiles it.

        Args:
            queries: float32 [B, 64], query embeddings.
            **asked: `k`, `min_score` and `where` of `PrototypeRetrieval`.
        """
        return self.pooled(*self.retrieval.search(queries, **asked))

    def pooled(self, ids: tf.Tensor, scores: tf.Tensor) -> FoundContext:
        """Returns the context of known phrases: int32 [B, k] row numbers and float32 [B, k] scores."""
        embeddings = self.embeddings(ids)
        return FoundContext(ids, scores, embeddings, self.pooling([embeddings, scores]))
