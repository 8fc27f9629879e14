"""Rows distributed like prototypes of pictures, and NumPy's brute force over them."""

import numpy as np


def unit(rows):
    rows = np.asarray(rows, np.float64)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def clustered(seed, rows, dim=16, clusters=600, spread=0.03):
    """Makes tight clusters, in which approximate search finds the same rows as exact search."""
    centres = unit(np.random.default_rng(7).normal(size=(clusters, dim)))
    rng = np.random.default_rng(seed)
    return unit(centres[rng.integers(0, clusters, rows)] + spread * rng.normal(size=(rows, dim)))


def cosines(queries, prototypes):
    """Computes cosines float64 [B, N] with the same sum for equal rows, so that ties stay ties."""
    return (unit(queries).astype(np.float64)[:, None] * np.asarray(prototypes, np.float64)).sum(-1)


def nearest(queries, prototypes, k, kept=None):
    """Finds ids and cosines [B, k], by descending cosine, then ascending id; -1 if no rows are left."""
    kept = np.arange(len(prototypes)) if kept is None else np.flatnonzero(kept)
    scores = cosines(queries, prototypes[kept])
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    open_places = [(0, 0), (0, k - order.shape[1])]
    ids = np.pad(kept[order], open_places, constant_values=-1)
    return ids, np.pad(np.take_along_axis(scores, order, axis=1), open_places, constant_values=-1.0)


def check_sound(ids, scores, queries, prototypes, kept=None):
    """Checks that found rows are allowed and distinct, have their own cosines in descending order, and come first."""
    ids, scores = np.asarray(ids), np.asarray(scores)
    kept = np.ones(len(prototypes), bool) if kept is None else kept
    there = ids >= 0
    assert kept[ids[there]].all()
    assert (np.diff(there.astype(int), axis=1) <= 0).all()
    assert (np.diff(scores, axis=1) <= 0).all()
    assert all(len(set(row[row >= 0])) == (row >= 0).sum() for row in ids)
    own = np.take_along_axis(cosines(queries, prototypes), np.maximum(ids, 0), axis=1)
    np.testing.assert_allclose(scores[there], np.clip(own[there], -1, 1), atol=1e-5)


def check_exact(ids, scores, queries, prototypes, k, kept=None):
    """Checks that the results equal those of the brute force, except that tied rows may replace each other."""
    check_sound(ids, scores, queries, prototypes, kept)
    expected_ids, expected_scores = nearest(queries, prototypes, k, kept)
    np.testing.assert_array_equal(np.asarray(ids) >= 0, expected_ids >= 0)
    there = expected_ids >= 0
    np.testing.assert_allclose(np.asarray(scores)[there], np.clip(expected_scores[there], -1, 1), atol=1e-5)
