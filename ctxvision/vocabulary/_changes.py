"""Computes changes of a table as streams of columns, the same way for tables in memory and on disk."""

from collections.abc import Callable, Collection
from typing import NamedTuple

import numpy as np

from ctxvision._mapped import release
from ctxvision.errors import InputError
from ctxvision.vocabulary._checks import TEXT_COLUMNS, check_hash_buckets, check_width
from ctxvision.vocabulary._columns import (
    Contents,
    Stream,
    extended,
    gathered,
    inserted,
    kept,
    kept_bytes,
    patched,
    whole,
)
from ctxvision.vocabulary._language_ids import language_ids
from ctxvision.vocabulary._phrase_index import find, hashes_by_row
from ctxvision.vocabulary.packed_phrases import PART

# Maps old rows of the table, the matching rows of the other table, and their slice of `Join.at` to new rows.
Mix = Callable[[np.ndarray, np.ndarray, slice], np.ndarray]


class Change(NamedTuple):
    """New contents of some columns; columns that are not in `streams` stay unchanged."""

    streams: dict[str, Stream]
    language_codes: list[str]

    def collect(self, table: Contents) -> Contents:
        """Applies the change to a table in memory."""
        after = {**table.columns, **{name: stream.collect() for name, stream in self.streams.items()}}
        return Contents(after, self.language_codes, table.hash_buckets)


class Join(NamedTuple):
    """The rows that two tables share.

    Attributes:
        at: int [K], ascending, rows of this table that the other table has too.
        rows: int [K], the corresponding rows of the other table.
        revived: bool [K], whether the row is removed in this table.
        fresh: int [F], ascending, rows of the other table that are new here.
        ids: int32 [M], the row in this table of each live row of the other table.
    """

    at: np.ndarray
    rows: np.ndarray
    revived: np.ndarray
    fresh: np.ndarray
    ids: np.ndarray


def upserted(table: Contents, new: Contents, given: Collection[str]) -> tuple[Change, np.ndarray]:
    """Adds the rows of `new` to the table; known phrases take the values of the columns `given`.

    Returns:
        The change, and int32 [M] ids of the rows of `new`.
    """
    join = _joined(table, new)
    return _absorbed(table, new, join, dict.fromkeys(given, lambda old, new, part: new)), join.ids


def merged(table: Contents, other: Contents) -> tuple[Change, np.ndarray]:
    """Adds the live rows of `other` to the table, see `PhraseTable.merge`.

    Returns:
        The change, and int32 [M] ids of the live rows of `other`.
    """
    join = _joined(table, other)

    def mean(old: np.ndarray, new: np.ndarray, part: slice) -> np.ndarray:
        weights = [table.columns["counts"][join.at[part]], other.columns["counts"][join.rows[part]]]
        total = np.add(*weights)
        # If both counts are 0, the two prototypes weigh the same.
        mine, theirs = (np.where(total > 0, weight, 1)[:, None] for weight in weights)
        sums = mine * old.astype(np.float64) + theirs * new.astype(np.float64)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        # Opposite vectors cancel to rounding noise, which has no direction: the old prototype stays.
        directed = lengths > 1e-6 * (mine + theirs)
        return np.divide(sums, lengths, out=old.astype(np.float64), where=directed)

    either: dict[str, Mix] = dict.fromkeys(_flags(table, other), lambda old, new, part: old | new)
    mixes: dict[str, Mix] = {"prototypes": mean, "counts": lambda old, new, part: old + new, **either}
    return _absorbed(table, other, join, mixes), join.ids


def _joined(table: Contents, other: Contents) -> Join:
    """Looks up the live phrases of `other` in `table`."""
    index, live = other.columns, np.array(other.columns["live"])
    wanted, places = other.phrases, np.empty(len(live), np.int32)
    for start in range(0, len(live), PART):
        # Searching in hash order is fast.
        rows = np.asarray(index["hash_rows"][start : start + PART])
        places[rows] = find(table, wanted, rows, np.asarray(index["hashes"][start : start + PART]))
    known = np.flatnonzero((places >= 0) & live)
    rows = known[np.argsort(places[known])]
    fresh = np.flatnonzero((places < 0) & live)
    at = places[rows]
    places[fresh] = len(table.columns["live"]) + np.arange(len(fresh))
    return Join(at, rows, ~table.columns["live"][at], fresh, places[live])


def _absorbed(table: Contents, other: Contents, join: Join, mixes: dict[str, Mix]) -> Change:
    """Adds the live rows of `other`; `mixes` computes new values of known rows, and other columns of theirs stay."""
    columns, others = table.columns, other.columns
    _check_fit(table, other, join.fresh)
    streams = _phrases(columns, other, join.fresh) if len(join.fresh) else {}

    def add(name: str, column: np.ndarray, source: np.ndarray) -> None:
        mix = mixes.get(name)
        if mix or len(join.fresh) or join.revived.any():
            streams[name] = _mixed(column, source, join, mix)

    for name in ("prototypes", "counts", "live", *TEXT_COLUMNS):
        if name in columns and name in others:
            add(name, columns[name], others[name])
    for name in _flags(table, other):
        add(name, *(c.get(name, np.zeros(len(c["live"]), bool)) for c in (columns, others)))
    codes = {code: number for number, code in enumerate(table.language_codes)}
    numbers = language_ids(other.language_codes, codes)
    add("language_ids", columns["language_ids"], numbers[others["language_ids"]])
    return Change(streams, [*codes] if "language_ids" in streams else table.language_codes)


def _check_fit(table: Contents, other: Contents, fresh: np.ndarray) -> None:
    """Refuses other widths or another hash, and new phrases without the text column of the table."""
    for name in ("prototypes", *TEXT_COLUMNS):
        if name in table.columns and name in other.columns:
            check_width(name, other.columns[name].shape[1], table.columns[name].shape[1])
        elif name in table.columns and len(fresh):
            raise InputError(
                f"{name} must be given for new phrases if the table has them, got none for "
                f"{other.phrases[fresh[0]]!r}: compute them as for the table's phrases."
            )
    if "ngrams" in table.columns and "ngrams" in other.columns:
        check_hash_buckets(other.hash_buckets, table.hash_buckets)


def _phrases(columns: dict[str, np.ndarray], other: Contents, fresh: np.ndarray) -> dict[str, Stream]:
    """Appends the phrases `fresh` of `other`, and inserts them into the index."""
    added, hashes = other.phrases.take(fresh), hashes_by_row(other)[fresh]
    order = np.argsort(hashes, kind="stable")
    places = np.searchsorted(columns["hashes"], hashes[order])
    rows = len(columns["live"]) + order.astype(np.int32)
    return {
        "phrases": extended(columns["phrases"], added.data),
        "phrase_ends": extended(columns["phrase_ends"], added.ends + len(columns["phrases"])),
        "hashes": inserted(columns["hashes"], places, hashes[order]),
        "hash_rows": inserted(columns["hash_rows"], places, rows),
    }


def _mixed(column: np.ndarray, source: np.ndarray, join: Join, mix: Mix | None) -> Stream:
    """Updates a column by the joined rows of another table's column, and appends its new rows."""

    def change(old: np.ndarray, part: slice) -> np.ndarray:
        new = source[join.rows[part]]
        release(source)
        revived = join.revived[part].reshape(-1, *[1] * (column.ndim - 1))
        return np.where(revived, new, old if mix is None else mix(old, new, part))

    return patched(column, join.at, change, len(join.fresh), lambda: gathered(source, join.fresh))


def removed(table: Contents, ids: np.ndarray) -> Change:
    """Marks the rows `ids`, int [K], as not live; all rows keep their numbers."""
    live = np.array(table.columns["live"])
    live[ids] = False
    return Change({"live": whole(live)}, table.language_codes)


def shrunk(table: Contents, mask: np.ndarray) -> Change:
    """Keeps the rows where `mask`, bool [N], is set, and renumbers them."""
    columns = table.columns
    ends, hash_rows = np.asarray(columns["phrase_ends"]), np.asarray(columns["hash_rows"])
    rows = np.cumsum(mask, dtype=np.int32) - np.int32(1)
    in_hash_order = mask[hash_rows]
    special = {
        "phrases": kept_bytes(columns["phrases"], ends, mask),
        "phrase_ends": whole(np.cumsum(np.diff(ends, prepend=0)[mask])),
        "hashes": kept(columns["hashes"], in_hash_order),
        "hash_rows": whole(rows[hash_rows[in_hash_order]]),
    }
    streams = {name: special.get(name) or kept(column, mask) for name, column in columns.items()}
    return Change(streams, table.language_codes)


def _flags(*tables: Contents) -> list[str]:
    return [*dict.fromkeys(name for table in tables for name in table.columns if name.startswith("flag_"))]
