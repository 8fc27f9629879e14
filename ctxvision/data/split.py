"""The pictures of one split, with their labels and queries."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ctxvision.errors import InputError

_UNDECODABLE_SHARE = 0.01

# Maps requested rows (int64, sorted) to pairs of row and encoded picture, in any order; None is an unreadable picture.
Stored = Callable[[np.ndarray], Iterator[tuple[int, bytes | None]]]


class Query(NamedTuple):
    """What somebody typed to find a picture, with its language, such as "en" or "es"."""

    text: str
    language: str


@dataclass(frozen=True)
class Split:
    """The pictures of one split, in the order of the source; all lists have one entry per picture.

    Attributes:
        name: "web", "pretrain", "train", "val", "test" or "test:NAME".
        paths: absolute file names; if pictures lie inside other files, names that identify them.
        labels: the labels of each picture; empty for a picture without labels.
        queries: the queries of each picture, with distinct texts; empty for a picture without queries.
        absent: the labels that somebody looked for in each picture and did not find; labels in neither list are
            unknown. None if `labels` are complete.
        stored: reads encoded pictures that lie inside other files, see `Stored`; None if `paths` are files.
    """

    name: str
    paths: list[str]
    labels: list[tuple[str, ...]]
    queries: list[tuple[Query, ...]]
    absent: list[tuple[str, ...]] | None = None
    stored: Stored | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def encoded(self, rows: np.ndarray | None = None) -> Iterator[tuple[int, bytes | None]]:
        """Yields each of `rows` (sorted; None means all) with its encoded picture, in any order; None if unreadable."""
        rows = np.arange(len(self)) if rows is None else rows
        if self.stored is not None:
            yield from self.stored(rows)
            return
        for row in rows.tolist():
            try:
                yield row, read_bytes(self.paths[row])
            except (OSError, tf.errors.OpError):
                yield row, None

    def take(self, rows: Iterable[int]) -> "Split":
        """Selects these rows, in this order."""
        rows = [int(row) for row in rows]
        return Split(
            self.name,
            [self.paths[row] for row in rows],
            [self.labels[row] for row in rows],
            [self.queries[row] for row in rows],
            None if self.absent is None else [self.absent[row] for row in rows],
            None if self.stored is None else _taken(self.stored, np.array(rows, np.int64)),
        )


def read_bytes(path: str) -> bytes:
    """Reads a file, local or on a file system of TensorFlow, such as `gs://`."""
    if "://" in path:
        with tf.io.gfile.GFile(path, "rb") as remote:
            return remote.read()
    with open(path, "rb") as file:
        return file.read()


def _taken(stored: Stored, rows: np.ndarray) -> Stored:
    def read(wanted: np.ndarray) -> Iterator[tuple[int, bytes | None]]:
        places: dict[int, list[int]] = {}
        for place in wanted.tolist():
            places.setdefault(int(rows[place]), []).append(place)
        for row, encoded in stored(np.array(sorted(places), np.int64)):
            for place in places[row]:
                yield place, encoded

    return read


def check_pictures(split: Split, undecodable: Sequence[int]) -> Split:
    """Leaves out the pictures that could not be decoded, and raises if there are too many.

    Args:
        split: the split whose pictures were loaded.
        undecodable: positions of the failed pictures, as `load_pictures` returns them.

    Returns:
        The split without these rows; a warning names the pictures.

    Raises:
        InputError: more than 1% of the split failed.
    """
    if not undecodable:
        return split
    failed = set(undecodable)
    names = few([split.paths[row] for row in sorted(failed)])
    found = f"{len(failed)} of {len(split)} pictures of split {split.name!r} cannot be read or decoded"
    if too_many(len(failed), len(split)):
        raise InputError(
            f"{found}, at most 1% may fail: repair these files, or leave their rows out ({names})."
        )
    warnings.warn(f"{found} and are left out: {names}.", stacklevel=2)
    return split.take(row for row in range(len(split)) if row not in failed)


def too_many(failed: int, number: int) -> bool:
    """Tells whether more than 1% failed."""
    return failed > _UNDECODABLE_SHARE * number


def few(names: Sequence[str]) -> str:
    """Joins the first three names and the number of the others."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
