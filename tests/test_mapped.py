"""Pages of mapped files leave the process's memory, and what they hold stays readable."""

from pathlib import Path

import numpy as np
import pytest

from ctxvision._mapped import release

SIZE = 64 << 20


def resident_of_files():
    """Returns the bytes of mapped files in this process's memory."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssFile"))


@pytest.mark.parametrize("view", [lambda a: a, lambda a: a[10:], np.asarray, lambda a: np.asarray(a)[5:]])
def test_read_pages_are_released(tmp_path, view):
    np.save(tmp_path / "a.npy", np.ones(SIZE // 4, np.float32))
    array = view(np.load(tmp_path / "a.npy", mmap_mode="r"))
    assert array.sum() == len(array)
    before = resident_of_files()
    release(array)
    assert resident_of_files() < before - SIZE // 2
    assert array[-1] == 1


@pytest.mark.parametrize("mode", ["c", "r+"])
def test_changes_stay(tmp_path, mode):
    np.save(tmp_path / "a.npy", np.ones(10, np.float32))
    array = np.load(tmp_path / "a.npy", mmap_mode=mode)
    array[3] = 7
    release(array)
    release(np.asarray(array)[2:])
    assert array[3] == 7


def test_arrays_in_memory():
    array = np.arange(4)
    release(array[1:])
    assert array.tolist() == [0, 1, 2, 3]
