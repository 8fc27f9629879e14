"""Finds the row of a phrase by sorted 64-bit hashes, which are searched in place in memory and on disk."""

import hashlib
from collections import Counter
from collections.abc import Iterable

import numpy as np

from ctxvision.errors import InputError
from ctxvision.vocabulary._columns import Contents
from ctxvision.vocabulary.packed_phrases import PART, PackedPhrases


def phrase_hashes(encoded: Iterable[bytes]) -> np.ndarray:
    """Hashes each phrase to 8 bytes of BLAKE2b, uint64 [M], so that nobody can make collisions on purpose."""
    hashed = b"".join(hashlib.blake2b(phrase, digest_size=8).digest() for phrase in encoded)
    return np.frombuffer(hashed, "<u8")


def sorted_index(hashes: np.ndarray, phrases: PackedPhrases) -> dict[str, np.ndarray]:
    """Makes the columns `hashes`, uint64 [N] ascending, and `hash_rows`, int32 [N], from hashes and phrases.

    Raises:
        InputError: two phrases are equal; the message names the phrase.
    """
    order = np.argsort(hashes, kind="stable").astype(np.int32)
    hashes = hashes[order]
    alike = np.flatnonzero(hashes[1:] == hashes[:-1])
    if len(alike):
        phrase, times = Counter(phrases[row] for row in order[np.union1d(alike, alike + 1)]).most_common(1)[0]
        if times > 1:
            raise InputError(
                f"phrases must differ (after NFC normalisation), got {phrase!r} {_times(times)}: merge its rows."
            )
    return {"hashes": hashes, "hash_rows": order}


def hashes_by_row(table: Contents) -> np.ndarray:
    """Returns the hash of each row's phrase, uint64 [N]."""
    hashes = np.empty(len(table.columns["hashes"]), np.uint64)
    hashes[table.columns["hash_rows"]] = table.columns["hashes"]
    return hashes


def find(table: Contents, wanted: PackedPhrases, rows: np.ndarray, hashes: np.ndarray) -> np.ndarray:
    """Finds phrases in a table.

    Args:
        table: the table to search.
        wanted: phrases.
        rows: int [M], the rows of `wanted` to look for.
        hashes: uint64 [M], the hashes of these rows.

    Returns:
        int32 [M], the row in `table`, live or removed, of each phrase; -1 if there is none.
    """
    phrases = table.phrases
    known, places = np.asarray(table.columns["hashes"]), np.asarray(table.columns["hash_rows"])
    found = np.full(len(rows), -1, np.int32)
    for start in range(0, len(rows), PART):
        part = slice(start, start + PART)
        found[part] = _find(known, places, phrases, wanted, rows[part], hashes[part])
    return found


def _find(
    known: np.ndarray,
    known_rows: np.ndarray,
    phrases: PackedPhrases,
    wanted: PackedPhrases,
    rows: np.ndarray,
    hashes: np.ndarray,
) -> np.ndarray:
    found = np.full(len(rows), -1, np.int32)
    places = np.searchsorted(known, hashes)
    left = np.arange(len(rows))
    while True:
        left = left[places[left] < len(known)]
        left = left[known[places[left]] == hashes[left]]
        if not len(left):
            return found
        candidates = known_rows[places[left]]
        same = phrases.same(candidates, wanted, rows[left])
        found[left[same]] = candidates[same]
        # The candidate is another phrase with the same hash; the wanted phrase may follow.
        left = left[~same]
        places[left] += 1


def _times(times: int) -> str:
    return "twice" if times == 2 else f"{times} times"
