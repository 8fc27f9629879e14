"""From phrases to rows: sorted 64-bit hashes, which are searched in place, on disk as in RAM."""

import hashlib
from collections import Counter
from collections.abc import Iterable

import numpy as np

from ctxvision.errors import InputError
from ctxvision.vocabulary._columns import Contents
from ctxvision.vocabulary.packed_phrases import PART, PackedPhrases


def phrase_hashes(encoded: Iterable[bytes]) -> np.ndarray:
    """uint64 [M]: 8 bytes of BLAKE2b of each phrase, so that equal hashes are chance and not somebody's intent."""
    hashed = b"".join(hashlib.blake2b(phrase, digest_size=8).digest() for phrase in encoded)
    return np.frombuffer(hashed, "<u8")


def sorted_index(hashes: np.ndarray, phrases: PackedPhrases) -> dict[str, np.ndarray]:
    """The columns `hashes`, uint64 [N] rising, and `hash_rows`, int32 [N], of phrases with these hashes.

    Raises:
        InputError: a phrase is there twice; it is named.
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
    """uint64 [N]: the hash of each row's phrase."""
    hashes = np.empty(len(table.columns["hashes"]), np.uint64)
    hashes[table.columns["hash_rows"]] = table.columns["hashes"]
    return hashes


def find(table: Contents, wanted: PackedPhrases, rows: np.ndarray, hashes: np.ndarray) -> np.ndarray:
    """int32 [M]: the row, removed or not, in `table` of each of `wanted`'s `rows`, -1 for none.

    Args:
        table: to be searched.
        wanted: phrases, of which `rows`, int [M], are looked for.
        rows: which.
        hashes: uint64 [M], of these rows.
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
        # Another phrase with the same hash: it may be the next.
        left = left[~same]
        places[left] += 1


def _times(times: int) -> str:
    return "twice" if times == 2 else f"{times} times"
