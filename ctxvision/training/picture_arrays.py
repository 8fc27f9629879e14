"""Decoded pictures as arrays, in memory or in files."""

import hashlib
import math
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from ctxvision._files import atomic_path, file_name, read_json, write_json
from ctxvision.data import Split, load_encoded, load_pictures

MOST_IN_MEMORY = 2 << 30


class PictureArrays:
    """Decodes pictures into arrays.

    An array of more than `MOST_IN_MEMORY` bytes is kept in a memory-mapped file: it takes that much disk, and only as
    much memory as the machine can spare.

    Args:
        image_size: side S in pixels of the decoded pictures.
        folder: folder for the files of large arrays; None keeps all arrays in memory.
    """

    def __init__(self, image_size: int, folder: Path | None):
        self._size = image_size
        self._folder = folder

    def decoded(self, split: Split) -> tuple[np.ndarray, list[int]]:
        """Returns the pictures of a split, uint8 [N, S, S, 3], and the rows of those that cannot be decoded."""

        def decode(out: np.ndarray) -> list[int]:
            if split.stored is None:
                return load_pictures(split.paths, self._size, out)[1]
            return load_encoded(split.encoded(), len(split), self._size, out)[1]

        return self._kept(split.name, (len(split), self._size, self._size, 3), decode, split)

    def rows(self, name: str, pictures: np.ndarray, rows: np.ndarray, split: Split) -> np.ndarray:
        """Copies these rows of the pictures into a new array."""

        def copy(out: np.ndarray) -> list[int]:
            for start in range(0, len(rows), 1024):
                out[start : start + 1024] = pictures[rows[start : start + 1024]]
            return []

        return self._kept(name, (len(rows), *pictures.shape[1:]), copy, split)[0]

    def _kept(
        self, name: str, shape: tuple[int, ...], fill: Callable[[np.ndarray], list[int]], split: Split
    ) -> tuple[np.ndarray, list[int]]:
        """Returns a uint8 array that `fill` has filled, and the result of `fill`.

        The array is in memory, or in a file that an earlier call filled from the same files of `split`.
        """
        if self._folder is None or math.prod(shape) <= MOST_IN_MEMORY:
            pictures = np.zeros(shape, np.uint8)
            return pictures, fill(pictures)
        path = self._folder / f"{file_name(name)}.npy"
        facts, made_from = path.with_suffix(".json"), _files_digest(split)
        if not facts.is_file() or (made_from and read_json(facts)["made_from"] != made_from):
            with atomic_path(path) as temporary:
                mapped = np.lib.format.open_memmap(temporary, "w+", np.uint8, shape)
                failed = fill(mapped)
                mapped.flush()
                del mapped
            write_json(facts, {"undecodable": failed, "made_from": made_from})
        return np.load(path, mmap_mode="r", allow_pickle=False), read_json(facts)["undecodable"]


def _files_digest(split: Split) -> str:
    """Returns a digest of names, sizes and times of a split's files; "" for pictures that lie inside other files."""
    found = []
    for path in split.paths if split.stored is None else []:
        with suppress(OSError):
            status = os.stat(path)
            found.append(f"{path} {status.st_size} {status.st_mtime_ns}")
    return hashlib.blake2b("\n".join(found).encode(), digest_size=16).hexdigest() if found else ""
