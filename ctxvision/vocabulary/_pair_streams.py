"""Converts (query, embedding) pairs of several forms to batches of one form."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ctxvision.errors import InputError
from ctxvision.vocabulary._fixed_point import STEP_VALUES


class PairBatch(NamedTuple):
    """A batch of pairs.

    Attributes:
        queries: B str.
        embeddings: numbers [B, D].
        languages: B codes, "" for a pair without language; None if no pair has one.
    """

    queries: list[str]
    embeddings: np.ndarray
    languages: list[str] | None


def pair_batches(pairs: Iterable[Any]) -> Iterator[PairBatch]:
    """Yields batches of at least one pair.

    Args:
        pairs: (query, embedding), (query, embedding, language), or batches of them: (B queries, [B, D]) or
            (B queries, [B, D], B languages). Single pairs and batches may be mixed. A language may be None or "".

    Raises:
        InputError: an item has another form; the message names the item or its query.
    """
    if not isinstance(pairs, Iterable):
        raise InputError(
            f"pairs must be an iterable of (query, embedding), got {_short(pairs)}: give a list or a generator."
        )
    single: list[tuple[str, np.ndarray, str]] = []
    for item in pairs:
        if not isinstance(item, (tuple, list)) or len(item) not in (2, 3):
            raise InputError(
                f"pairs must be tuples (query, embedding) or (query, embedding, language), or batches of them, got "
                f"{_short(item)}: put each pair in a tuple."
            )
        query, embedding, language = item if len(item) == 3 else (*item, None)
        if not isinstance(query, (str, bytes)):
            yield from _stacked(single)
            single.clear()
            if len(query := _list(query, item)):
                yield _batch(query, embedding, language)
            continue
        (text,), (code,) = (
            _texts([query], "queries"),
            _texts(["" if language is None else language], "languages"),
        )
        single.append((text, _vector(query, embedding), code))
        if len(single) * single[0][1].size >= STEP_VALUES:
            yield from _stacked(single)
            single.clear()
    yield from _stacked(single)


def _batch(queries: list[Any], embeddings: Any, languages: Any) -> PairBatch:
    values = _numbers(embeddings, queries[0])
    if values.ndim != 2 or len(values) != len(queries) or not values.shape[1]:
        raise InputError(
            f"embeddings must have shape [{len(queries)}, D], one row for each query of the batch, got "
            f"{list(values.shape)} in the batch that starts with {queries[0]!r}: give one row per query."
        )
    if languages is not None:
        languages = ["" if language is None else language for language in _list(languages, languages)]
        if len(languages) != len(queries):
            raise InputError(
                f"languages must be {len(queries)}, one for each query of the batch, got {len(languages)} in the "
                f"batch that starts with {queries[0]!r}: give one language per query."
            )
        languages = _texts(languages, "languages")
    return PairBatch(_texts(queries, "queries"), values, languages)


def _stacked(pairs: Sequence[tuple[str, np.ndarray, str]]) -> Iterator[PairBatch]:
    if pairs:
        queries, vectors, languages = zip(*pairs)
        dim = len(vectors[0])
        for query, vector in zip(queries, vectors):
            check_dim(dim, len(vector), query)
        yield PairBatch(list(queries), np.stack(vectors), list(languages) if any(languages) else None)


def check_dim(expected: int, dim: int, query: str) -> None:
    """Raises an InputError unless an embedding is as long as the first one."""
    if dim != expected:
        raise InputError(
            f"embeddings must have {expected} values like the first, got {dim} for query {query!r}: embed all "
            f"pictures with the same phrase generator."
        )


def _vector(query: Any, embedding: Any) -> np.ndarray:
    values = _numbers(embedding, query)
    if values.ndim != 1 or not len(values):
        raise InputError(
            f"an embedding must be one row of numbers, got shape {list(values.shape)} for query {query!r}: flatten "
            f"the array, or give a batch as (queries, embeddings)."
        )
    return values


def _numbers(embeddings: Any, query: Any) -> np.ndarray:
    try:
        values = np.asarray(embeddings)
    except ValueError:  # rows of different lengths
        values = np.asarray(None)
    if values.dtype.kind not in "fiu" and values.dtype.name != "bfloat16":
        raise InputError(
            f"embeddings must be rows of numbers, got {_short(embeddings)} for query {query!r}: convert them to float32."
        )
    return values


def _list(values: Any, item: Any) -> list[Any]:
    """Converts a sequence, NumPy array or tensor to a list."""
    if isinstance(values, list):
        return values
    try:
        return np.asarray(values).tolist() if hasattr(values, "__array__") else list(values)
    except TypeError:
        raise InputError(
            f"queries must be str, or a sequence of them for a batch, got {_short(item)}: give (query, embedding)."
        ) from None


def _texts(values: list[Any], name: str) -> list[str]:
    if set(map(type, values)) == {str}:  # fast path, because every pair is checked
        return values
    for value in values:
        if not isinstance(value, str):
            raise InputError(f"{name} must be str, got {_short(value)}: decode bytes as UTF-8.")
    return [str(value) for value in values]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
