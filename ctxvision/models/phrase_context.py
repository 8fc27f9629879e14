"""Query embeddings in, context vectors out: retrieve, look up, pool (section 3.3)."""

from typing import Any, NamedTuple

import tensorflow as tf

from ctxvision.layers.context_pooling import ContextPooling
from ctxvision.layers.phrase_embeddings import PhraseEmbeddings
from ctxvision.layers.prototype_retrieval import PrototypeRetrieval


class FoundContext(NamedTuple):
    """The phrases of each picture and the context that they make.

    Attributes:
        ids: int32 [B, k], row numbers of the phrase table, -1 where there is none.
        scores: float32 [B, k], descending; -1 where there is no phrase.
        embeddings: float32 [B, k, T], L2-normalised text embeddings of the phrases; zeros where there is none.
        vector: float32 [B, T], the context vector, not normalised; zeros where there is no phrase.
    """

    ids: tf.Tensor
    scores: tf.Tensor
    embeddings: tf.Tensor
    vector: tf.Tensor


class PhraseContext(NamedTuple):
    """What turns query embeddings into context vectors; the one home of retrieve -> text -> pool.

    Attributes:
        retrieval: already indexed.
        embeddings: of the same table's phrases.
        pooling: of the phrases' embeddings.
    """

    retrieval: PrototypeRetrieval
    embeddings: PhraseEmbeddings
    pooling: ContextPooling

    def find(self, queries: tf.Tensor, **asked: Any) -> FoundContext:
        """Searches without strings, so that XLA compiles it.

        Args:
            queries: float32 [B, 64], query embeddings.
            **asked: `k`, `min_score` and `where` of `PrototypeRetrieval`.
        """
        return self.pooled(*self.retrieval.search(queries, **asked))

    def pooled(self, ids: tf.Tensor, scores: tf.Tensor) -> FoundContext:
        """The context of phrases that are found already: int32 [B, k] row numbers and float32 [B, k] scores."""
        embeddings = self.embeddings(ids)
        return FoundContext(ids, scores, embeddings, self.pooling([embeddings, scores]))
