"""Turns known query embeddings into contexts, as the end-to-end model does."""

import numpy as np
import tensorflow as tf

from ctxvision.context.context import Context
from ctxvision.context.found_phrases import BATCH_SIZE, search
from ctxvision.layers import ContextPooling, PhraseEmbeddings
from ctxvision.models.phrase_context import PhraseContext
from ctxvision.vocabulary import PhraseTable


def contexts_of(
    context: Context, embeddings: np.ndarray, k: int, weighting: str, table: PhraseTable | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the context vector of each picture and the phrases behind it.

    Args:
        context: a context whose stage `text` is finished.
        embeddings: float32 [N, embedding_dim], query embeddings.
        k: phrases per picture.
        weighting: see `ContextPooling`.
        table: a phrase table with text embeddings; the context's by default.

    Returns:
        float32 [N, text_dim] context vectors, and int32 [N, k] row numbers of the phrases in the table.
    """
    parts = PhraseContext(
        context.retrieval(k, table=table), _embeddings_of(context, table), ContextPooling(weighting)
    )
    starts = range(0, max(1, len(embeddings)), BATCH_SIZE)
    found = [parts.find(tf.constant(embeddings[i : i + BATCH_SIZE])) for i in starts]
    return np.concatenate([one.vector for one in found]), np.concatenate([one.ids for one in found])


def nearest_phrases(
    context: Context, embeddings: np.ndarray, k: int, table: PhraseTable | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Finds the k phrases nearest to each query embedding with an exact search, nearest first.

    Returns:
        int32 [N, k] row numbers in the table, -1 for a missing phrase, and their float32 [N, k] scores.
    """
    return search(context.retrieval(k, table=table), embeddings)


def found_phrases(context: Context, embeddings: np.ndarray, depth: int) -> list[list[str]]:
    """Returns the `depth` nearest phrases of each picture, best first; fewer in a smaller vocabulary."""
    depth = min(depth, context.num_retrievable())
    phrases, (ids, _) = context.phrase_table.phrases, nearest_phrases(context, embeddings, depth)
    texts = {i: phrases[i] for i in np.unique(ids).tolist() if i >= 0}
    return [[texts.get(i, "") for i in row] for row in ids.tolist()]


def _embeddings_of(context: Context, table: PhraseTable | None) -> PhraseEmbeddings:
    """Returns the layer from row numbers of the table (the context's by default) to text embeddings."""
    if table is None:
        return context.phrase_embeddings
    layer = PhraseEmbeddings(context.config.text_dim, trainable=False)
    layer.assign(np.asarray(table.text_embeddings))
    return layer
