"""The hashed n-grams of phrases, from which a text encoder computes their embeddings."""

from typing import NamedTuple

import numpy as np

# Tables store ids as uint16.
MOST_HASH_BUCKETS = 2**16 - 1


class Ngrams(NamedTuple):
    """Hashed n-grams of phrases.

    Attributes:
        ids: integer [N, M], from 1 to `hash_buckets`; 0 is padding.
        hash_buckets: the number of hash buckets, from 1 to `MOST_HASH_BUCKETS`.
    """

    ids: np.ndarray
    hash_buckets: int
