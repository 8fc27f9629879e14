"""Clustering puts every row in one list, within the capacity."""

import numpy as np
import pytest

from ctxvision.layers.retrieval import clustering, nearest_centroid
from ctxvision.layers.retrieval.clustering import cluster
from ctxvision.layers.retrieval.nearest_centroid import NearestCentroid
from tests.layers.retrieval.oracle import clustered

ROWS = clustered(0, 600, clusters=30)
ALL = np.arange(600)


def check_placed(prototypes, ids, centroids, lists, capacity):
    """Checks that every row has a list within capacity, and that a row is elsewhere only if its nearest list is full."""
    sizes = np.bincount(lists, minlength=len(centroids))
    assert (lists.shape, lists.dtype, centroids.dtype) == (ids.shape, np.int32, np.float32)
    assert sizes.sum() == len(ids) and sizes.max() <= capacity
    np.testing.assert_allclose(np.linalg.norm(centroids, axis=1), 1, atol=1e-5)
    closeness = prototypes[ids].astype(np.float32) @ centroids.T
    own = closeness[np.arange(len(ids)), lists]
    full = sizes == capacity
    nearer = closeness > own[:, np.newaxis] + 1e-5
    assert full[np.nonzero(nearer)[1]].all()


@pytest.mark.parametrize("num_lists", [1, 7, 40, 600])
@pytest.mark.parametrize("slack", [1.0, 1.5, 600.0])
def test_every_row_has_a_list_within_capacity(num_lists, slack):
    capacity = int(np.ceil(slack * 600 / num_lists))
    centroids, lists = cluster(ROWS, ALL, num_lists, capacity)
    assert centroids.shape == (num_lists, 16)
    check_placed(ROWS, ALL, centroids, lists, capacity)


def test_rows_are_in_their_nearest_list_if_no_list_is_full():
    centroids, lists = cluster(ROWS, ALL, 20, 600)
    np.testing.assert_array_equal(lists, (ROWS @ centroids.T).argmax(axis=1))


def test_rows_farthest_from_the_centroid_leave_a_full_list():
    # Angles from east: three rows are near east, whose list has two places; the next nearest list is north.
    angles = np.radians([0, 4, 12, 80, 90])
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    centroids = np.eye(2, dtype=np.float32)
    nearest = NearestCentroid(centroids)
    lists, closeness = clustering._nearest(nearest, rows, np.arange(5))
    assert lists.tolist() == [0, 0, 0, 1, 1]
    placed = clustering._within_capacity(rows, np.arange(5), centroids, lists, closeness, capacity=3)
    assert placed.tolist() == [0, 0, 0, 1, 1]
    lists, closeness = clustering._nearest(nearest, rows, np.arange(4))
    placed = clustering._within_capacity(rows, np.arange(4), centroids, lists, closeness, capacity=2)
    assert placed.tolist() == [0, 0, 1, 1]


def test_the_seed_determines_the_result():
    first, again = (cluster(ROWS, ALL, 25, 36) for _ in range(2))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert (cluster(ROWS, ALL, 25, 36, seed=1)[1] != first[1]).any()


def test_other_rows_have_no_influence():
    ids = np.arange(0, 600, 3)
    among_others = cluster(np.where(np.arange(600)[:, None] % 3, -1.0, ROWS), ids, 10, 30)
    alone = cluster(ROWS[ids], np.arange(200), 10, 30)
    np.testing.assert_array_equal(among_others[0], alone[0])
    np.testing.assert_array_equal(among_others[1], alone[1])


def test_rows_read_in_blocks(monkeypatch):
    whole = cluster(ROWS, ALL, 200, 5)
    monkeypatch.setattr(nearest_centroid, "_CENTROIDS_AT_A_TIME", 32)
    monkeypatch.setattr(nearest_centroid, "_PRODUCTS_AT_A_TIME", 32 * 256)
    in_blocks = cluster(ROWS, ALL, 200, 5)
    np.testing.assert_allclose(in_blocks[0], whole[0], atol=1e-6)
    np.testing.assert_array_equal(in_blocks[1], whole[1])


@pytest.mark.parametrize(("probed", "right"), [(20, 1.0), (8, 0.9)])
def test_many_lists(monkeypatch, probed, right):
    # Twenty cells hold 20 centroids each; a row is compared with those in 8 cells or in all.
    rows, everything = clustered(1, 8000, clusters=400), np.arange(8000)
    few = cluster(rows, everything, 400, 8000)
    monkeypatch.setattr(clustering, "MANY_LISTS", 39)
    monkeypatch.setattr(nearest_centroid, "_CELLS_PROBED", probed)
    many = cluster(rows, everything, 400, 8000)
    assert (many[1] == (rows @ many[0].T).argmax(axis=1)).mean() >= right
    closeness = [(rows * centroids[lists]).sum(axis=1).mean() for centroids, lists in (few, many)]
    assert closeness[1] > closeness[0] - 0.01 > 0.8
    centroids, lists = cluster(rows, everything, 400, 24)
    sizes = np.bincount(lists, minlength=400)
    assert sizes.sum() == 8000 and sizes.max() <= 24
    if right == 1:
        check_placed(rows, everything, centroids, lists, 24)


def test_float16_rows():
    rows = ROWS.astype(np.float16)
    check_placed(rows, ALL, *cluster(rows, ALL, 25, 36), 36)


def test_equal_rows_fill_lists_one_after_another():
    rows = np.repeat(ROWS[:1], 50, axis=0)
    centroids, lists = cluster(rows, np.arange(50), 5, 10)
    np.testing.assert_allclose(centroids, rows[:5], atol=1e-6)
    assert np.bincount(lists).tolist() == [10] * 5


def test_empty_lists_move_to_the_rows_farthest_from_centroids():
    # A thousand equal rows attract nearly all centroids, which must move to the ten other rows.
    few = np.eye(16, dtype=np.float32)[1:11]
    rows = np.concatenate([np.repeat(np.eye(16, dtype=np.float32)[:1], 1000, axis=0), few])
    centroids, lists = cluster(rows, np.arange(1010), 100, 1010)
    np.testing.assert_allclose((few @ centroids.T).max(axis=1), 1, atol=1e-5)
    assert len(set(lists[1000:])) == 10


def test_a_list_whose_rows_cancel_out_keeps_its_centroid():
    half = np.eye(16, dtype=np.float32)
    rows = np.concatenate([half, -half])
    centroids, lists = cluster(rows, np.arange(32), 1, 32)
    assert centroids[0].tolist() in rows.tolist() and (lists == 0).all()
