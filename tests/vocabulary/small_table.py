"""Four phrases in two dimensions, for results derived by hand."""

import numpy as np

from ctxvision import PhraseTable
from ctxvision.vocabulary import Ngrams

PHRASES = ["red car", "Größe", "猫", "cafe\u0301"]
PROTOTYPES = [[3.0, 4.0], [0.0, -2.0], [1.0, 0.0], [-1e-6, 0.0]]
UNIT = [[0.6, 0.8], [0, -1], [1, 0], [-1, 0]]
COUNTS = [5, 0, 7, 1]
LANGUAGES = ["en", "de", "ja", "fr"]
IDS = [[1, 2, 7], [3, 0, 0], [0, 0, 0], [7, 7, 1]]


def small_table():
    flags = {"adult": [False, True, False, True]}
    return PhraseTable.from_arrays(PHRASES, PROTOTYPES, COUNTS, LANGUAGES, np.eye(4), flags)


def ngram_table():
    """As `small_table`, with n-grams of 7 hash buckets instead of text embeddings."""
    return PhraseTable.from_arrays(PHRASES, PROTOTYPES, COUNTS, LANGUAGES, ngrams=Ngrams(np.array(IDS), 7))


def contents(table):
    """Lists the contents of a table for comparison."""
    columns = (table.prototypes, table.counts, table.languages, table.live)
    flags = {name: flag.tolist() for name, flag in table.flags.items()}
    text = None if table.text_embeddings is None else table.text_embeddings.tolist()
    ngrams = table.ngrams and (table.ngrams.ids.tolist(), table.ngrams.hash_buckets)
    return list(table.phrases), *(column.tolist() for column in columns), flags, text, ngrams


def names(folder):
    """Lists the files of a folder."""
    return sorted(path.name for path in folder.iterdir())
