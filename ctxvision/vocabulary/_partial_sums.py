"""Adds rows up by query in bounded memory."""

import sys
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np

from ctxvision._limits import MOST_PHRASE_BYTES
from ctxvision.errors import InputError
from ctxvision.vocabulary._fixed_point import MOST_PAIRS, STEP_VALUES, add_rows
from ctxvision.vocabulary._sorted_run import RunRows, SortedRun, ranges

# Memory of a row beside its sums and its query: the dict's entry, the dict's growth, and sorting.
ROW_BYTES = 256
RANGE_ROWS = 1 << 16
# Copies of the sums of a range that exist while the range is merged and its prototypes are computed.
RANGE_COPIES = 8

Merged: TypeAlias = tuple[list[str], list[str], np.ndarray]


class QuerySums(NamedTuple):
    """Rows of sums with their queries.

    Attributes:
        queries: B str.
        languages: B codes, "" for a row without language; None if no row has one.
        sums: int64 [B, D + 1], see `_fixed_point`.
    """

    queries: list[str]
    languages: list[str] | None
    sums: np.ndarray


class PartialSums:
    """Adds rows up by query and language in memory, and spills them to disk, sorted by query, when memory is full.

    Args:
        folder: an existing folder for the spilled rows.
        dim: D.
        memory: the bytes to use while adding rows, and again while merging.
    """

    def __init__(self, folder: Path, dim: int, memory: int):
        self._folder, self._memory = folder, memory
        self._row_bytes = 8 * (dim + 1) + ROW_BYTES
        # The system allocates memory for a row when the row is first written.
        self._sums = np.zeros((max(1, memory // self._row_bytes), dim + 1), np.int64)
        self._rows: dict[str, dict[str, int]] = {}  # language -> query -> row
        self._used = self._text_bytes = 0
        self._runs: list[SortedRun] = []

    def add(self, new: QuerySums) -> None:
        """Adds rows.

        Raises:
            InputError: a query is empty, too long or not valid Unicode; the message names it.
        """
        step = max(1, min(STEP_VALUES // new.sums.shape[1], len(self._sums)))
        for start in range(0, len(new.queries), step):
            queries = new.queries[start : start + step]
            languages = None if new.languages is None else new.languages[start : start + step]
            full = self._used * self._row_bytes + self._text_bytes > self._memory
            if full or self._used + len(queries) > len(self._sums):
                self.spill()
            add_rows(self._sums, self._places(queries, languages), new.sums[start : start + step])

    def spill(self) -> None:
        """Writes the rows in memory to disk."""
        names = [query for rows in self._rows.values() for query in rows]
        places = np.fromiter((p for rows in self._rows.values() for p in rows.values()), np.int64, len(names))
        languages = np.repeat(np.arange(len(self._rows)), [len(rows) for rows in self._rows.values()])
        # Sorting by code points equals sorting by UTF-8.
        order = sorted(range(len(names)), key=names.__getitem__)

        def blocks() -> Iterator[RunRows]:
            step = max(1, STEP_VALUES // self._sums.shape[1])
            for start in range(0, len(order), step):
                part = order[start : start + step]
                yield RunRows([names[i].encode() for i in part], languages[part], self._sums[places[part]])

        self._runs.append(SortedRun(self._folder / str(len(self._runs)), blocks()))
        for rows in self._rows.values():
            rows.clear()
        self._sums[: self._used] = 0
        self._used = self._text_bytes = 0

    def merged(self) -> Iterator[Merged]:
        """Yields all sums: queries in ascending UTF-8 order, their languages, and rows int64 [B, D + 1]. Callable once.

        A query's language is the one with most embeddings, the alphabetically first of several, and "en" if its
        embeddings name none.

        Raises:
            InputError: a query has more embeddings than a sum can hold.
        """
        if self._used:
            self.spill()
        self._sums = np.zeros((0, self._sums.shape[1]), np.int64)  # frees the memory
        codes = list(self._rows)
        rows = min(RANGE_ROWS, max(1, self._memory // (RANGE_COPIES * self._row_bytes)))
        for parts in ranges(self._runs, rows):
            yield _merge(parts, codes)

    def _places(self, queries: Sequence[str], languages: Sequence[str] | None) -> np.ndarray:
        """Finds the row of each query in its language, int64 [B]; adds missing rows."""
        if languages is None:
            find = self._rows.setdefault("", {}).get
            places = np.array([find(query, -1) for query in queries], np.int64)
        else:
            for language in dict.fromkeys(languages):
                self._rows.setdefault(language, {})
            rows = self._rows
            places = np.array(
                [rows[code].get(query, -1) for query, code in zip(queries, languages)], np.int64
            )
        for i in np.flatnonzero(places < 0).tolist():
            places[i] = self._place("" if languages is None else languages[i], normalised(queries[i]))
        return places

    def _place(self, language: str, query: str) -> int:
        rows = self._rows[language]
        if query not in rows:
            rows[query] = self._used
            self._used += 1
            self._text_bytes += sys.getsizeof(query)
        return rows[query]


def _merge(parts: Sequence[RunRows], codes: Sequence[str]) -> Merged:
    phrases = [phrase for part in parts for phrase in part.phrases]
    # Python's sort detects the ascending parts and merges them.
    order = sorted(range(len(phrases)), key=phrases.__getitem__)
    names: list[bytes] = []
    groups = np.empty(len(phrases), np.int64)
    for row in order:
        if not names or phrases[row] != names[-1]:
            names.append(phrases[row])
        groups[row] = len(names) - 1
    sums = np.zeros((len(names), parts[0].sums.shape[1]), np.int64)
    start = 0
    for part in parts:
        add_rows(sums, groups[start : start + len(part.phrases)], part.sums)
        start += len(part.phrases)
    queries = [name.decode() for name in names]
    most = int(sums[:, -1].argmax())
    if sums[most, -1] > MOST_PAIRS:
        raise InputError(
            f"a query must have at most {MOST_PAIRS:,} embeddings, got {sums[most, -1]:,} for {queries[most]!r}: "
            f"leave the query out, or give a sample of its pairs."
        )
    languages = np.concatenate([part.languages for part in parts])
    counts = np.concatenate([part.sums[:, -1] for part in parts])
    return queries, _most_named(codes, len(queries), groups, languages, counts), sums


def _most_named(
    codes: Sequence[str], size: int, groups: np.ndarray, languages: np.ndarray, counts: np.ndarray
) -> list[str]:
    """Finds the language with the highest sum of counts in each of `size` groups, "en" for a group without any."""
    ranked = sorted(code for code in codes if code)
    ranks = {code: i for i, code in enumerate(ranked)}
    rank = np.array([ranks.get(code, -1) for code in codes])[languages]
    named = rank >= 0
    keys, inverse = np.unique(groups[named] * len(ranked) + rank[named], return_inverse=True)
    votes = np.zeros(len(keys), np.int64)
    np.add.at(votes, inverse, counts[named])
    # Later writes win, so the highest count wins, and the smaller code wins a tie.
    order = np.lexsort((-keys, votes))
    winner = np.full(size, -1)
    winner[keys[order] // max(1, len(ranked))] = keys[order] % max(1, len(ranked))
    return [ranked[i] if i >= 0 else "en" for i in winner.tolist()]


def normalised(query: str) -> str:
    """Normalises a query to NFC.

    Raises:
        InputError: the query is empty, too long, or holds half a surrogate pair.
    """
    name = str(unicodedata.normalize("NFC", query))
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        raise InputError(f"queries must be Unicode text, got {query!r}: decode it as UTF-8.") from None
    if not 0 < length <= MOST_PHRASE_BYTES:
        shown = name if len(name) < 50 else name[:50] + "..."
        raise InputError(
            f"queries must have 1 to {MOST_PHRASE_BYTES:,} bytes of UTF-8, got {shown!r} with {length:,}: leave the pair out."
        )
    return name
