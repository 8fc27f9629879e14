"""Keeps features of pictures from towers that no longer learn, for all runs of a user."""

import contextlib
import hashlib
import os
from pathlib import Path

import numpy as np

from ctxvision._files import atomic_path, link_or_copy


class SharedFeatures:
    """Keeps the features that one tower gives for pictures, and finds them by the pictures' content.

    Each picture has its own digest, because another run may assign the same pictures to other splits. A file `NAME.npy`
    holds the features of one split of some run, and `NAME.ids.npy` the digests of its pictures. The folder is
    `$CTXVISION_CACHE/features/KEY`, by default in `~/.cache/ctxvision`; it can be deleted at any time. Errors of
    writing are ignored, because the folder may be read-only or full.

    Args:
        key: digest of the tower.
    """

    def __init__(self, key: str):
        cache = os.environ.get("CTXVISION_CACHE") or os.path.expanduser("~/.cache/ctxvision")
        # "~" stays in the path if the home is unknown: then nothing is read or written.
        self._folder = None if cache.startswith("~") else Path(cache) / "features" / key

    def find(self, ids: np.ndarray, to: Path) -> tuple[np.ndarray, np.ndarray] | None:
        """Finds the kept features of pictures.

        Args:
            ids: see `ids_of`.
            to: path that becomes a link to the file of exactly these pictures in this order, if that file exists.

        Returns:
            bool [N], the pictures that were found, and their features float32 [n, D]; None if `to` now holds all.
        """
        whole = self._file(ids)
        if whole is not None and whole.is_file():
            to.parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(whole, to)
            return None
        asked = [one.tobytes() for one in ids]
        wanted, known, parts = set(asked), dict[bytes, int](), [np.zeros((0, 0), np.float32)]
        for file in sorted(self._folder.glob("*.ids.npy")) if self._folder else []:
            stored = (one.tobytes() for one in np.load(file, allow_pickle=False))
            new = {one: row for row, one in enumerate(stored) if one in wanted and one not in known}
            if new:
                known |= {one: len(known) + number for number, one in enumerate(new)}
                features = np.load(str(file).replace(".ids.npy", ".npy"), mmap_mode="r", allow_pickle=False)
                parts.append(features[list(new.values())])
        rows = np.array([known.get(one, -1) for one in asked])
        return rows >= 0, np.concatenate(parts[1:] or parts)[rows[rows >= 0]]

    def keep(self, ids: np.ndarray, features: Path) -> None:
        """Links a file of features into the folder; does nothing if the folder cannot be written."""
        whole = self._file(ids)
        if whole is None:
            return
        with contextlib.suppress(OSError):
            whole.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(whole) as temporary:
                temporary.unlink()
                link_or_copy(features, temporary)
            # Written last: `find` looks only into files with digests.
            with atomic_path(whole.with_suffix(".ids.npy")) as temporary, open(temporary, "wb") as file:
                np.save(file, ids)

    def _file(self, ids: np.ndarray) -> Path | None:
        return self._folder and self._folder / f"{hashlib.blake2b(ids.data, digest_size=16).hexdigest()}.npy"


def ids_of(pictures: np.ndarray) -> np.ndarray:
    """Returns a digest of each row (a picture or an array of features), uint8 [N, 16]."""
    digests = (hashlib.blake2b(np.ascontiguousarray(one).data, digest_size=16).digest() for one in pictures)
    return np.frombuffer(b"".join(digests), np.uint8).reshape(len(pictures), 16)
