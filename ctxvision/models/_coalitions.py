"""Coalitions of a model's inputs, and the weights that turn their values into Shapley values."""

import functools
import math
from typing import NamedTuple

import numpy as np

MOST_EXACT = 10  # phrases; coalitions of more phrases are sampled
PAIRS = 32  # pairs of sampled orders


class Coalitions(NamedTuple):
    """V coalitions of k + 2 players: the picture, the query embedding and k phrases, in this order.

    Attributes:
        picture, query: int [V], 1 if the player is in the coalition, else 0.
        phrases: int [V], the coalition's set of phrases as a row number of `subsets`.
        subsets: bool [S, k], the distinct sets of phrases.
        pairs: int [P, 2], the distinct pairs of `query` and `phrases`.
        pair: int [V], the coalition's pair as a row number of `pairs`.
        weights: float32 [k + 2, V]; `weights` times the V values of the coalitions gives the players' Shapley values.
        whole, none: row numbers of the coalition of all players and of the empty coalition.
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
    """Returns every coalition for up to 10 phrases, and sampled coalitions for more.

    Samples come from 32 pairs of random orders of the players; the two orders of a pair are each other's reverse
    (antithetic sampling, Mitchell et al. 2022). The sample is the same in each call with the same k. In both cases
    the Shapley values sum to the value of the whole coalition minus the value of the empty one.
    """
    players = k + 2
    present, weights = _all(players) if k <= MOST_EXACT else _sampled(players)
    subsets, phrases = np.unique(present[:, 2:], axis=0, return_inverse=True)
    sizes = present.sum(axis=1)
    picture, query = present[:, :2].astype(np.int32).T
    phrases = phrases.ravel().astype(np.int32)
    pairs, pair = np.unique(np.stack([query, phrases], axis=1), axis=0, return_inverse=True)
    ends = int(sizes.argmax()), int(sizes.argmin())
    return Coalitions(picture, query, phrases, subsets, pairs, pair.ravel(), weights, *ends)


def _all(players: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns all coalitions as bool [2^n, n], and their weights float32 [n, 2^n] (Shapley 1953)."""
    numbers = np.arange(2**players)[:, np.newaxis]
    present = (numbers >> np.arange(players)) % 2 == 1
    sizes = present.sum(axis=1)
    factorial = np.array([math.factorial(i) for i in range(players + 1)], float)
    # `joined` weighs a coalition with the player, `apart` a coalition without the player.
    joined = factorial[np.maximum(sizes - 1, 0)] * factorial[players - sizes] / factorial[players]
    apart = factorial[sizes] * factorial[np.maximum(players - sizes - 1, 0)] / factorial[players]
    return present, np.where(present, joined[:, np.newaxis], -apart[:, np.newaxis]).T.astype(np.float32)


def _sampled(players: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns sampled coalitions as bool [V, n], and their weights float32 [n, V].

    The Shapley value of a player is the mean of what the player adds to the players before it, over all orders.
    """
    rng = np.random.default_rng(0)
    orders = [rng.permutation(players) for _ in range(PAIRS)]
    orders += [order[::-1] for order in orders]
    # Row j of an order's block holds the first j players of the order.
    places = np.argsort(orders, axis=1)
    present = places[:, np.newaxis, :] < np.arange(players + 1)[:, np.newaxis]
    weights = np.zeros([players, len(orders), players + 1])
    for number, order in enumerate(orders):
        weights[order, number, np.arange(1, players + 1)] += 1 / len(orders)
        weights[order, number, np.arange(players)] -= 1 / len(orders)
    different, rows = np.unique(present.reshape(-1, players), axis=0, return_inverse=True)
    summed = np.zeros([players, len(different)])
    np.add.at(summed.T, rows.ravel(), weights.reshape(players, -1).T)
    return different, summed.astype(np.float32)
