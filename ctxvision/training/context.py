"""Query embeddings to contexts, as the end-to-end model does it, for pictures whose embedding is known."""

import numpy as np
import tensorflow as tf

from ctxvision.layers import ContextPooling, DualEncoderText
from ctxvision.prototypes import PhraseTable
from ctxvision.training.run import Run

BATCH_SIZE = 1024


def contexts(
    run: Run, split: str, k: int, weighting: str, table: PhraseTable | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The context of every picture of a split.

    Args:
        run: past its stage `text`.
        split: of the run's data.
        k: phrases a picture.
        weighting: see `ContextPooling`.
        table: with text embeddings; the run's own by default.

    Returns:
        float32 [N, text_dim] contexts, and int32 [N, k] row numbers in the table of the phrases behind them.
    """
    return contexts_of(run, run.query_embeddings(split), k, weighting, table)


def contexts_of(
    run: Run, embeddings: np.ndarray, k: int, weighting: str, table: PhraseTable | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """As `contexts`, of pictures whose query embeddings float32 [N, 64] are given."""
    table = table or run.phrase_table
    ids, scores = _nearest(run, embeddings, k, table)
    text, pooling = folded_text(run, table), ContextPooling(weighting)
    rows = [slice(i, i + BATCH_SIZE) for i in range(0, len(ids), BATCH_SIZE)]
    parts = [pooling([text(tf.constant(ids[some])), tf.constant(scores[some])]) for some in rows]
    return np.concatenate(parts), ids


def nearest_phrases(
    run: Run, split: str, k: int, table: PhraseTable | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The phrases of every picture of a split, found exactly, nearest first.

    Returns:
        int32 [N, k] row numbers in the table, -1 where there is none, and their float32 [N, k] scores.
    """
    return _nearest(run, run.query_embeddings(split), k, table)


def _nearest(
    run: Run, embeddings: np.ndarray, k: int, table: PhraseTable | None
) -> tuple[np.ndarray, np.ndarray]:
    retrieval = run.retrieval(k, table=table)
    starts = range(0, len(embeddings), BATCH_SIZE)
    found = [retrieval(tf.constant(embeddings[i : i + BATCH_SIZE])) for i in starts]
    return np.concatenate([one.ids for one in found]), np.concatenate([one.scores for one in found])


def folded_text(run: Run, table: PhraseTable | None = None) -> DualEncoderText:
    """A frozen layer from row numbers of the table, by default the run's own, to their text embeddings."""
    layer = DualEncoderText(run.config.text_dim, hash_buckets=1, trainable=False)  # it reads no words
    layer.fold(np.asarray((table or run.phrase_table).text_embeddings))
    return layer
