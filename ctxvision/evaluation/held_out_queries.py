"""Query-query associations that a text encoder has not seen."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from ctxvision.errors import InputError
from ctxvision.training.loaded_data import QueryLog

SHARE = 0.1
LETTERS = "abcdefghijklmnopqrstuvwxyz"


class HeldOut(NamedTuple):
    """Pictures that are not trained on, and associations of their queries alone.

    Attributes:
        trained: bool [P], which of the log's (picture, query) are trained on.
        pairs: int32 [T, 2], two queries of a picture that is not, which share no picture that is; in random order.
        partners: of each query that comes first in a pair, all that share a picture with it.
    """

    trained: np.ndarray
    pairs: np.ndarray
    partners: dict[int, np.ndarray]


def hold_out(log: QueryLog, seed: int) -> HeldOut:
    """Holds out a tenth of the pictures, seeded; those that the same queries led to stay on one side.

    Otherwise several pictures of one thing, searched for by the same words, would give the answers away.

    Raises:
        InputError: no association is left to test on.
    """
    queries_of: dict[int, list[int]] = {}
    for picture, query in zip(log.pair_picture.tolist(), log.pair_query.tolist()):
        queries_of.setdefault(picture, []).append(query)
    key_of = {picture: tuple(sorted(set(queries))) for picture, queries in queries_of.items()}
    keys = sorted(set(key_of.values()))
    rng = np.random.default_rng([seed, 2])
    held = {keys[i] for i in rng.permutation(len(keys))[: max(1, round(SHARE * len(keys)))]}

    size = len(log.phrases)
    seen = _associations((key for key in keys if key not in held), size)
    new = np.setdiff1d(_associations(held, size), seen)
    if not len(new):
        raise InputError(
            f"queries must leave associations to test on when a tenth of the pictures is held out, got none in "
            f"{len(keys)} different sets of queries: give pictures more queries."
        )
    all_of = np.union1d(new, seen)
    lefts = np.unique(new // size)
    starts, ends = np.searchsorted(all_of, lefts * size), np.searchsorted(all_of, (lefts + 1) * size)
    held_pictures = [picture for picture, key in key_of.items() if key in held]
    return HeldOut(
        ~np.isin(log.pair_picture, held_pictures),
        rng.permutation(np.stack([new // size, new % size], axis=1)).astype(np.int32),
        {int(left): all_of[start:end] % size for left, start, end in zip(lefts, starts, ends)},
    )


def misspelt(text: str, rng: np.random.Generator) -> str:
    """The text with one character replaced, left out or put in."""
    while True:
        place, letter = int(rng.integers(len(text))), LETTERS[int(rng.integers(len(LETTERS)))]
        end = place + int(rng.integers(2))
        changed = text[:place] + (letter if rng.integers(3) else "") + text[end:]
        if changed.strip() and changed != text:
            return changed


def _associations(keys: Iterable[tuple[int, ...]], size: int) -> np.ndarray:
    """Sorted int64 left · size + right of all ordered pairs of different queries of a key."""
    parts = [np.zeros(0, np.int64)]
    for key in keys:
        queries = np.array(key, np.int64)
        codes = queries[:, np.newaxis] * size + queries
        parts.append(codes[~np.eye(len(queries), dtype=bool)])
    return np.unique(np.concatenate(parts))
