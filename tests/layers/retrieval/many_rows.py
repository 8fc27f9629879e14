"""A table large enough for approximate search, and the results that must be found in it."""

import numpy as np
import tensorflow as tf

from ctxvision import PhraseTable
from tests.layers.retrieval.oracle import clustered, nearest

BACKENDS = ("ivf", "exact", "scann")
SEARCHES = {"ivf": "InvertedLists", "exact": "ExactSearch", "scann": "ScannSearch"}
ROWS, DIM = 6000, 16  # enough for approximate search

PROTOTYPES = clustered(0, ROWS)
PROTOTYPES[5500:5505] = PROTOTYPES[3]  # rows that tie
QUERIES = np.concatenate([clustered(1, 6), PROTOTYPES[3:4]])
IDS = np.arange(ROWS)
COUNTS = IDS % 4
GERMAN, ADULT, BRAND = IDS % 13 == 0, IDS % 5 == 0, IDS % 7 == 0
TABLE = PhraseTable.from_arrays(
    [f"phrase {i} ü" for i in range(ROWS)],
    PROTOTYPES,
    counts=COUNTS,
    languages=np.where(GERMAN, "de", "en").tolist(),
    flags={"adult": ADULT, "brand": BRAND},
)


def check_found(found, queries, k, kept=None, table=TABLE):
    """Checks that a result has the oracle's ids and their phrases."""
    ids, scores = nearest(queries, table.prototypes, k, kept)
    assert (found.ids.dtype, found.scores.dtype, found.phrases.dtype) == (tf.int32, tf.float32, tf.string)
    np.testing.assert_array_equal(found.ids, ids)
    np.testing.assert_allclose(found.scores, scores, atol=1e-6)
    check_phrases(found, table)


def check_phrases(found, table=TABLE):
    assert [[p.decode() for p in row] for row in found.phrases.numpy()] == [
        [table.phrases[int(i)] if i >= 0 else "" for i in row] for row in found.ids.numpy()
    ]
