"""Which parts of what a model sees are there in turn, and how their Shapley values follow."""

import functools
import math
from typing import NamedTuple

import numpy as np

MOST_EXACT = 10  # phrases; of more, coalitions are sampled
PAIRS = 32


class Coalitions(NamedTuple):
    """V coalitions of the players picture, query embedding, and k phrases, in this order.

    Attributes:
        picture, query: int [V], whether each is there: 0 or 1.
        phrases: int [V], the row of `subsets` that is there.
        subsets: bool [S, k], different sets of phrases.
        pairs: int [P, 2], the different pairs of `query` and `phrases`; `pair` int [V], the row of it that is there.
        weights: float32 [k + 2, V]; times the values of the coalitions they are the players' Shapley values.
        whole, none: the numbers of the coalitions of all players and of none.
    """

    picture: np.ndarray
    query: np.ndarray
    phrases: np.ndarray
    subsets: np.ndarray
    pairs: np.ndarray
    pair: np.ndarray
    weights: np.ndarray
    whole: int
    none: int


@functools.lru_cache(maxsize=8)
def coalitions(k: int) -> Coalitions:
    """All coalitions for up to 10 phrases, and else those of 32 pairs of orders in which players come in.

    The two orders of a pair are each other's reverse (antithetic sampling, Mitchell et al. 2022). The same k gives the
    same coalitions. Either way the values sum to that of the whole coalition less that of none.
    """
    players = k + 2
    there, weights = _all(players) if k <= MOST_EXACT else _sampled(players)
    subsets, phrases = np.unique(there[:, 2:], axis=0, return_inverse=True)
    sizes = there.sum(axis=1)
    picture, query = there[:, :2].astype(np.int32).T
    phrases = phrases.ravel().astype(np.int32)
    pairs, pair = np.unique(np.stack([query, phrases], axis=1), axis=0, return_inverse=True)
    ends = int(sizes.argmax()), int(sizes.argmin())
    return Coalitions(picture, query, phrases, subsets, pairs, pair.ravel(), weights, *ends)


def _all(players: int) -> tuple[np.ndarray, np.ndarray]:
    """Bool [2^n, n] and float32 [n, 2^n] (Shapley 1953)."""
    numbers = np.arange(2**players)[:, np.newaxis]
    there = (numbers >> np.arange(players)) % 2 == 1
    sizes = there.sum(axis=1)
    factorial = np.array([math.factorial(i) for i in range(players + 1)], float)
    # Of a coalition with the player, and of one without.
    joined = factorial[np.maximum(sizes - 1, 0)] * factorial[players - sizes] / factorial[players]
    apart = factorial[sizes] * factorial[np.maximum(players - sizes - 1, 0)] / factorial[players]
    return there, np.where(there, joined[:, np.newaxis], -apart[:, np.newaxis]).T.astype(np.float32)


def _sampled(players: int) -> tuple[np.ndarray, np.ndarray]:
    """Bool [V, n] and float32 [n, V]: a player's value is the mean of what it adds to those before it."""
    rng = np.random.default_rng(0)
    orders = [rng.permutation(players) for _ in range(PAIRS)]
    orders += [order[::-1] for order in orders]
    # Row j of an order's block has its first j players.
    places = np.argsort(orders, axis=1)
    there = places[:, np.newaxis, :] < np.arange(players + 1)[:, np.newaxis]
    weights = np.zeros([players, len(orders), players + 1])
    for number, order in enumerate(orders):
        weights[order, number, np.arange(1, players + 1)] += 1 / len(orders)
        weights[order, number, np.arange(players)] -= 1 / len(orders)
    different, rows = np.unique(there.reshape(-1, players), axis=0, return_inverse=True)
    summed = np.zeros([players, len(different)])
    np.add.at(summed.T, rows.ravel(), weights.reshape(players, -1).T)
    return different, summed.astype(np.float32)
