"""Query embeddings to contexts, as the end-to-end model computes them, for pictures whose embedding is known."""

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
    """The context vector of each picture.

    Args:
        context: past its stage `text`.
        embeddings: float32 [N, embedding_dim], query embeddings.
        k: phrases a picture.
        weighting: see `ContextPooling`.
        table: with text embeddings; the context's own by default.

    Returns:
        float32 [N, text_dim] context vectors, and int32 [N, k] row numbers in the table of the phrases behind them.
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
    """The phrases of each picture, found exactly, nearest first.

    Returns:
        int32 [N, k] row numbers in the table, -1 where there is none, and their float32 [N, k] scores.
    """
    return search(context.retrieval(k, table=table), embeddings)


def found_phrases(context: Context, embeddings: np.ndarray, depth: int) -> list[list[str]]:
    """The `depth` phrases nearest to each picture, best first; fewer in a smaller vocabulary."""
    depth = min(depth, context.num_retrievable())
    phrases, (ids, _) = context.phrase_table.phrases, nearest_phrases(context, embeddings, depth)
    texts = {i: phrases[i] for i in np.unique(ids).tolist() if i >= 0}
    return [[texts.get(i, "") for i in row] for row in ids.tolist()]


def _embeddings_of(context: Context, table: PhraseTable | None) -> PhraseEmbeddings:
    """Row numbers of the table, by default the context's own, to text embeddings."""
    if table is None:
        return context.phrase_embeddings
    layer = PhraseEmbeddings(context.config.text_dim, trainable=False)
    layer.assign(np.asarray(table.text_embeddings))
    return layer
