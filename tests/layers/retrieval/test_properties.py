"""Compares every backend with NumPy's brute force, for random tables, changes and calls."""

from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ctxvision import PhraseTable
from ctxvision.layers import PrototypeRetrieval, prototype_retrieval
from tests.layers.retrieval.oracle import check_exact, check_sound, nearest


def examples(number):
    return settings(deadline=None, max_examples=number, suppress_health_check=[HealthCheck.too_slow])


LANGUAGES, FLAGS = ["de", "en", "fr"], ["adult", "brand"]
seeds = st.integers(0, 10_000)


def vectors(random, kind, rows, dim):
    """Draws random directions, directions on a grid (many tie) or one of three; half of the time in a half-space."""
    if kind == "grid":
        found = random.integers(-1, 2, [rows, dim])
    elif kind == "three":
        found = random.normal(size=[3, dim])[random.integers(0, 3, rows)]
    else:
        found = random.normal(size=[rows, dim])
    return np.where(np.any(found, axis=1, keepdims=True), found, np.eye(dim)[0])


class World:
    """A random table with random changes and calls."""

    def __init__(self, seed, kind, rows, dim, dtype="float32"):
        self.random, self.kind, self.dim, self.made = np.random.default_rng(seed), kind, dim, rows
        self.table = PhraseTable.from_arrays(
            [f"p{i}" for i in range(rows)], *self.columns(rows), None, self.flags(rows), dtype=dtype
        )

    def columns(self, rows):
        """Draws prototypes, counts and languages."""
        languages = self.random.choice(LANGUAGES, rows).tolist()
        return vectors(self.random, self.kind, rows, self.dim), self.random.integers(0, 4, rows), languages

    def flags(self, rows):
        return {flag: self.random.random(rows) < 0.3 for flag in FLAGS}

    def upsert(self):
        """Draws new, known and removed phrases."""
        known = [f"p{i}" for i in self.random.choice(self.made, self.random.integers(0, 5), replace=False)]
        new = [f"p{self.made + i}" for i in range(self.random.integers(0 if known else 1, 4))]
        self.made += len(new)
        rows = len(known + new)
        return self.table.upsert(known + new, *self.columns(rows), None, self.flags(rows))

    def remove(self):
        live = np.flatnonzero(self.table.live)
        gone = self.random.choice(live, min(len(live) - 1, self.random.integers(0, 6)), replace=False)
        return self.table.remove([self.table.phrases[int(i)] for i in gone])

    def queries(self):
        """Draws random queries and the opposite of a row, whose cosines are all negative for some tables."""
        rows = np.asarray(self.table.prototypes[self.random.integers(0, len(self.table), 2)], np.float32)
        return np.concatenate([vectors(self.random, self.kind, 3, self.dim), rows[:1], -rows[1:]]).astype(
            np.float32
        )

    def rules(self):
        """Draws arguments of `filter`, and computes the rows that they admit."""
        random, table = self.random, self.table
        rules, kept = {}, np.ones(len(table), bool)
        some = {name: random.choice(LANGUAGES, random.integers(1, 3)).tolist() for name in ("allow", "deny")}
        if random.random() < 0.4:
            rules["allow_languages"], kept = some["allow"], kept & np.isin(table.languages, some["allow"])
        if random.random() < 0.4:
            rules["deny_languages"], kept = some["deny"], kept & ~np.isin(table.languages, some["deny"])
        for flag, rule in zip(FLAGS, random.choice(["allow", "deny", "neither"], 2).tolist()):
            if rule != "neither":
                rules.setdefault(f"{rule}_flags", []).append(flag)
                kept = kept & (table.flags[flag] == (rule == "allow"))
        if random.random() < 0.6:
            denied = random.integers(0, len(table), random.choice([1, 5, 2 * len(table)]))
            rules["deny_ids"], kept = denied, kept & ~np.isin(np.arange(len(table)), denied)
        return rules, kept


def check(world, layer, min_count, exact):
    table, queries = world.table, world.queries()
    kept = table.live & (table.counts >= min_count)
    rules, passing = world.rules()
    k = int(world.random.integers(1, layer.k + 1))
    for where, admitted in ((None, kept), (layer.filter(**rules), kept & passing)):
        found = layer(tf.constant(queries), where=where)
        if exact:
            check_exact(found.ids, found.scores, queries, table.prototypes, layer.k, admitted)
        check_sound(found.ids, found.scores, queries, table.prototypes, admitted)
        assert (abs(found.scores.numpy()) <= 1).all()
        # Even if few lists are probed, k rows are found if k exist.
        there = (found.ids.numpy() >= 0).sum(axis=1)
        assert there.tolist() == [min(layer.k, admitted.sum())] * len(queries)
        assert [p.decode() for p in found.phrases.numpy().ravel()] == [
            table.phrases[int(i)] if i >= 0 else "" for i in found.ids.numpy().ravel()
        ]
        least = float(world.random.uniform(-1, 1))
        fewer = layer(tf.constant(queries), k, least, where)
        passes = (found.ids[:, :k] >= 0) & (found.scores[:, :k] >= least)
        np.testing.assert_array_equal(fewer.ids, tf.where(passes, found.ids[:, :k], -1))
        np.testing.assert_array_equal(fewer.scores, tf.where(passes, found.scores[:, :k], -1.0))


def live_through(world, layer, changes, min_count, exact):
    check(world, layer, min_count, exact)
    for change in changes:
        if change == "compact":
            layer.compact()
        else:
            layer.update(world.table, world.upsert() if change == "upsert" else world.remove())
        check(world, layer, min_count, exact)


changes = st.lists(st.sampled_from(["upsert", "upsert", "remove", "compact"]), max_size=5)
small_worlds = {
    "seed": seeds,
    "kind": st.sampled_from(["random", "grid", "three"]),
    "rows": st.sampled_from([5, 30, 100]),
    "dim": st.integers(1, 4),
    "k": st.sampled_from([1, 3, 5]),
    "min_count": st.integers(0, 1),
    "changes": changes,
    "dtype": st.sampled_from(["float32", "float32", "float16"]),
}


def lists(seed, kind, rows, dim, k, min_count, lists, probes, changes, dtype):
    world = World(seed, kind, rows, dim, dtype)
    retrievable = int((world.table.counts >= min_count).sum())
    num_lists = max(1, round(lists * retrievable))
    chosen = {"num_lists": num_lists, "probes": max(1, round(probes * num_lists))}
    with mock.patch.object(prototype_retrieval, "FEWEST_ROWS", 0):
        if retrievable:
            layer = PrototypeRetrieval(min(k, retrievable)).index(world.table, None, min_count, **chosen)
            live_through(world, layer, changes, min_count, exact=chosen["probes"] == num_lists)


def exact(seed, kind, rows, dim, k, min_count, changes, dtype):
    world = World(seed, kind, rows, dim, dtype)
    retrievable = int((world.table.counts >= min_count).sum())
    if retrievable:
        layer = PrototypeRetrieval(min(k, retrievable), "exact").index(world.table, None, min_count)
        live_through(world, layer, changes, min_count, exact=True)


def scann(seed, kind, dim, k, probes, depth, changes):
    world = World(seed, kind, 1500, dim)  # ScaNN needs a thousand rows
    with mock.patch.object(prototype_retrieval, "FEWEST_ROWS", 0):
        layer = PrototypeRetrieval(k, "scann")
        layer.index(world.table, None, 1, num_lists=30, probes=probes, depth=depth)
        live_through(world, layer, changes, 1, exact=(probes, depth) == (30, 1500))


worlds = {
    lists: {**small_worlds, "lists": st.floats(0, 1), "probes": st.sampled_from([0.0, 0.3, 1.0, 1.0])},
    exact: small_worlds,
    scann: {
        "seed": seeds,
        "kind": st.sampled_from(["random", "grid", "three"]),
        "dim": st.sampled_from([2, 3, 8]),
        "k": st.sampled_from([1, 5, 400]),
        "probes": st.sampled_from([1, 30]),
        "depth": st.sampled_from([10, 1500]),
        "changes": changes,
    },
}


def check_worlds(holds, number):
    # Settings can be applied only once, so that each test needs its own function.
    examples(number)(given(**worlds[holds])(holds))()


@pytest.mark.parametrize(("holds", "number"), [(lists, 4), (exact, 4), (scann, 2)])
def test_some_worlds(holds, number):
    check_worlds(holds, number)


@pytest.mark.slow
@pytest.mark.parametrize(("holds", "number"), [(lists, 30), (exact, 30), (scann, 15)])
def test_many_worlds(holds, number):
    check_worlds(holds, number)


def test_oracle():
    """Of three rows the second is left out, and the places beyond the rows stay empty."""
    ids, scores = nearest(
        np.array([[2.0, 0.0]]), np.array([[0.0, 1.0], [1.0, 0.0], [0.6, 0.8]]), 3, [True, False, True]
    )
    assert ids.tolist() == [[2, 0, -1]]
    np.testing.assert_allclose(scores, [[0.6, 0.0, -1.0]])
