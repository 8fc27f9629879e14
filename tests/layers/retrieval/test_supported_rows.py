"""Rows of few pictures are scaled down."""

from pathlib import Path

import numpy as np
import pytest

from ctxvision.layers.retrieval.supported_rows import SupportedRows

PROTOTYPES = np.array([[0.6, 0.8], [1.0, 0.0], [0.0, -1.0]], np.float32)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_rows_are_scaled_by_their_support(dtype):
    rows = SupportedRows(PROTOTYPES.astype(dtype), np.array([4, 1, 0]), 4.0)
    assert (rows.shape, rows.dtype) == ((3, 2), dtype)
    found = rows[np.array([1, 0, 2])]
    assert found.dtype == dtype
    np.testing.assert_allclose(found, [[0.2, 0.0], [0.3, 0.4], [0.0, 0.0]], atol=1e-3)


def test_without_support_rows_are_unchanged():
    np.testing.assert_array_equal(SupportedRows(PROTOTYPES, np.zeros(3, int), 0.0)[np.arange(3)], PROTOTYPES)


@pytest.mark.parametrize("support", [-1.0, float("nan")])
def test_bad_support(support):
    with pytest.raises(ValueError, match="support must be 0 or more, got"):
        SupportedRows(PROTOTYPES, np.ones(3, int), support)


def test_pinned_rows_are_unchanged():
    prototypes, counts = np.eye(3, dtype=np.float32), np.array([1, 1, 3])
    rows = SupportedRows(prototypes, counts, 1.0, np.array([True, False, False]))
    np.testing.assert_allclose(rows[np.arange(3)], np.diag([1.0, 0.5, 0.75]), atol=1e-7)


def resident_file_mb():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssFile")) / 1024


def test_read_pages_do_not_stay_in_memory(tmp_path):
    np.save(tmp_path / "rows.npy", np.ones([200_000, 64], np.float32))  # 49 MB
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    rows, before = SupportedRows(mapped, np.ones(len(mapped)), 0), resident_file_mb()
    for start in range(0, len(mapped), 50_000):
        assert (rows[np.arange(start, start + 50_000)] == 1).all()
    assert resident_file_mb() < before + 10


def test_changes_of_a_private_map_are_kept(tmp_path):
    np.save(tmp_path / "rows.npy", np.ones([10, 4], np.float32))
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="c")
    mapped[3] = 2
    rows = SupportedRows(mapped, np.ones(10), 0)
    assert (rows[np.array([3])] == 2).all() and (rows[np.array([3])] == 2).all()


@pytest.mark.parametrize("support", [0.0, 1.0])
def test_rows_in_another_dtype(support):
    rows = np.eye(3, dtype=np.float32)
    found = SupportedRows(rows, np.array([1, 3, 1]), support, dtype="float16")[np.array([1])]
    assert found.dtype == np.float16 and found[0, 1] == (0.75 if support else 1.0)
