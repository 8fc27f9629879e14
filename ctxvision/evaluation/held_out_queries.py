"""Held-out query-query associations for a text encoder."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from ctxvision.errors import InputError
from ctxvision.training.query_log import QueryLog

SHARE = 0.1
LETTERS = "abcdefghijklmnopqrstuvwxyz"


class HeldOut(NamedTuple):
    """Held-out pictures and the associations that only their queries have.

    Attributes:
        trained: bool [P], marks the (picture, query) pairs of the log for training.
        pairs: int32 [T, 2], two queries that share a held-out picture and no training picture, in random order.
        partners: maps the first query of each pair to all queries that share a picture with it.
    """

    trained: np.ndarray
    pairs: np.ndarray
    partners: dict[int, np.ndarray]


def hold_out(log: QueryLog, seed: int) -> HeldOut:
    """Holds out the pictures of a random tenth of the sets of queries.

    Pictures with the same set of queries stay on one side; otherwise training would see the test's associations.

    Args:
        log: query log of the run.
        seed: seed of the draw.

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
            f"suite text-encoder needs held-out associations of queries, got none in {len(keys)} different sets of "
            "queries: give pictures more queries."
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
    """Replaces, removes or inserts one character."""
    while True:
        place, letter = int(rng.integers(len(text))), LETTERS[int(rng.integers(len(LETTERS)))]
        end = place + int(rng.integers(2))
        changed = text[:place] + (letter if rng.integers(3) else "") + text[end:]
        if changed.strip() and changed != text:
            return changed


def _associations(keys: Iterable[tuple[int, ...]], size: int) -> np.ndarray:
    """Lists all ordered pairs of different queries of a key, coded as left · size + right, int64, sorted."""
    parts = [np.zeros(0, np.int64)]
    for key in keys:
        queries = np.array(key, np.int64)
        codes = queries[:, np.newaxis] * size + queries
        parts.append(codes[~np.eye(len(queries), dtype=bool)])
    return np.unique(np.concatenate(parts))
