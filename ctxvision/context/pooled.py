"""Turns known query embeddings into contexts, as the end-to-end model does."""

import numpy as np
import tensorflow as tf

from ctxvision.context.context import Context
from ctxvision.context.found_phrases import BATCH_SIZE, search
from ctxvision.layers import ContextPooling
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
        table: a phrase table made of the context's; the context's own by default.

    Returns:
        float32 [N, text_dim] context vectors, and int32 [N, k] row numbers of the phrases in the table.
    """
    parts = PhraseContext(
        context.retrieval(k, table=table),
        context.embeddings_of(table) if table else context.phrase_embeddings,
        ContextPooling(weighting),
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
