"""The queries of a `web` split."""

from array import array
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ctxvision.data.split import Query


class QueryLog(NamedTuple):
    """The queries of the `web` split, in descending order of count; equal counts are sorted by text.

    Attributes:
        phrases: the Q texts.
        languages: the Q language codes.
        counts: int64 [Q], pictures per query.
        pair_picture: int32 [P], rows of pictures.
        pair_query: int32 [P], numbers of the queries that led to these pictures.
    """

    phrases: list[str]
    languages: list[str]
    counts: np.ndarray
    pair_picture: np.ndarray
    pair_query: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[Sequence[Query]]) -> "QueryLog":
        """Counts and numbers the queries of pictures; `rows` holds the queries of each picture."""
        number: dict[str, int] = {}
        languages: list[str] = []
        queries = array("i")
        for row in rows:
            for query in row:
                if query.text not in number:
                    number[query.text] = len(number)
                    languages.append(query.language)
                queries.append(number[query.text])
        texts, pair_query = list(number), np.array(queries, np.int32)
        counts = np.bincount(pair_query, minlength=len(texts))
        order = sorted(range(len(texts)), key=lambda i: (-counts[i], texts[i]))
        rank = np.empty(len(texts), np.int32)
        rank[order] = np.arange(len(texts))
        return cls(
            [texts[i] for i in order],
            [languages[i] for i in order],
            counts[order].astype(np.int64),
            np.repeat(np.arange(len(rows), dtype=np.int32), [len(row) for row in rows]),
            rank[pair_query],
        )
