"""Phrases that a search found, as rows of a phrase table and in readable form."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ctxvision.layers import PrototypeRetrieval
from ctxvision.vocabulary import PhraseTable

BATCH_SIZE = 1024


class FoundPhrase(NamedTuple):
    """A phrase of the vocabulary.

    Attributes:
        phrase: its text.
        score: similarity to the picture or phrase that was searched for, at most 1.
        count: number of pictures behind its prototype.
        language: its language code.
    """

    phrase: str
    score: float
    count: int  # type: ignore[assignment]  # tuple.count is not missed
    language: str


def search(retrieval: PrototypeRetrieval, embeddings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the row numbers int32 [N, k], -1 for a missing phrase, and scores float32 [N, k] of embeddings [N, D]."""
    starts = range(0, max(1, len(embeddings)), BATCH_SIZE)
    found = [retrieval(tf.constant(embeddings[i : i + BATCH_SIZE])) for i in starts]
    return np.concatenate([one.ids for one in found]), np.concatenate([one.scores for one in found])


def described(table: PhraseTable, rows: np.ndarray, scores: np.ndarray) -> list[FoundPhrase]:
    """Returns the rows int [N] of a phrase table, with scores [N], as phrases."""
    return [
        FoundPhrase(
            table.phrases[row],
            float(score),
            int(table.counts[row]),
            table.language_codes[table.language_ids[row]],
        )
        for row, score in zip(rows.tolist(), scores)
    ]
