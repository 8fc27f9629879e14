"""Keeps the pages of memory-mapped arrays out of the process's memory."""

import mmap

import numpy as np


def release(array: np.ndarray) -> None:
    """Removes the read pages of a mapped file from the process's memory; they stay in the system's cache.

    Args:
        array: an array, or a view of one; nothing happens unless it is mapped read-only.
    """
    mapped: object = array
    while isinstance(mapped, np.ndarray):
        # In a private mapping, changed rows would be lost.
        if isinstance(mapped, np.memmap) and mapped.mode != "r":
            return
        mapped = mapped.base
    if isinstance(mapped, mmap.mmap):
        mapped.madvise(mmap.MADV_DONTNEED)
