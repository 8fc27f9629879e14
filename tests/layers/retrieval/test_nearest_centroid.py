"""The nearest centroid of a row is found among all, or nearly so in near cells."""

import numpy as np
import pytest

from ctxvision.layers.retrieval import nearest_centroid
from ctxvision.layers.retrieval.nearest_centroid import NearestCentroid, NearestInCells
from tests.layers.retrieval.oracle import clustered, unit

# Centroids without clusters are the hardest case.
CENTROIDS = unit(np.random.default_rng(0).normal(size=[400, 16]))
ROWS = clustered(1, 2000, clusters=2000)
COSINES = ROWS @ CENTROIDS.T


@pytest.mark.parametrize("number", [1, 7, 32, 400])
def test_all_centroids_are_compared(number):
    found, closeness = NearestCentroid(CENTROIDS[:number])(ROWS)
    np.testing.assert_array_equal(found, COSINES[:, :number].argmax(axis=1))
    np.testing.assert_allclose(closeness, COSINES[:, :number].max(axis=1), atol=1e-5)


def test_cells_find_a_near_centroid(monkeypatch):
    monkeypatch.setattr(nearest_centroid, "_CELLS_PROBED", 8)
    found, closeness = NearestInCells(CENTROIDS, CENTROIDS[:20])(ROWS)
    np.testing.assert_allclose(closeness, COSINES[np.arange(2000), found], atol=1e-5)
    assert 0.9 < (found == COSINES.argmax(axis=1)).mean() < 1
    assert (COSINES.max(axis=1) - closeness).mean() < 0.01


def test_all_cells_find_the_nearest(monkeypatch):
    monkeypatch.setattr(nearest_centroid, "_CELLS_PROBED", 20)
    found, _ = NearestInCells(CENTROIDS, CENTROIDS[:20])(ROWS)
    np.testing.assert_array_equal(found, COSINES.argmax(axis=1))


def test_empty_cells():
    far = -CENTROIDS[:1] @ np.eye(16, dtype=np.float32)
    found, closeness = NearestInCells(CENTROIDS[:1], np.concatenate([CENTROIDS[:1], far]))(ROWS)
    assert (found == 0).all()
    np.testing.assert_allclose(closeness, COSINES[:, 0], atol=1e-5)
