"""Query embeddings to contexts, as the end-to-end model does it, for pictures whose embedding is known."""

import numpy as np
import tensorflow as tf

from ctxvision.layers import ContextPooling, DualEncoderText
from ctxvision.prototypes import PhraseTable
from ctxvision.training.run import Run


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
    table = table or run.phrase_table
    retrieval, pooling = run.retrieval(k, table=table), ContextPooling(weighting)
    text = DualEncoderText(run.config.text_dim)
    text.fold(np.asarray(table.text_embeddings))
    embeddings = run.query_embeddings(split)

    parts = []
    for start in range(0, len(embeddings), 1024):
        found = retrieval(tf.constant(embeddings[start : start + 1024]))
        parts.append((pooling([text(found.ids), found.scores]), found.ids))
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])
