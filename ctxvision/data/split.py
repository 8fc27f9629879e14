"""The pictures of one split, with their labels and queries."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ctxvision.errors import InputError

_UNDECODABLE_SHARE = 0.01

# The rows asked for (int64, sorted) to each one and its encoded picture, in any order; None where it is unreadable.
Stored = Callable[[np.ndarray], Iterator[tuple[int, bytes | None]]]


class Query(NamedTuple):
    """What somebody typed to find a picture, and the language it was typed in ("en", "es")."""

    text: str
    language: str


@dataclass(frozen=True)
class Split:
    """The pictures of one split, in the order of the source; all lists have the same length.

    Attributes:
        name: "web", "pretrain", "train", "val", "test" or "test:NAME".
        paths: absolute file names; where a source holds pictures inside other files, names that say which.
        labels: the labels of each picture; empty for a picture without any.
        queries: the queries of each picture, no text twice; empty for a picture without any.
        absent: labels that somebody looked for in each picture and did not find; whether any other label is there is
            then unknown. None where a picture's labels are all that it has.
        stored: reads encoded pictures that are no files of their own, see `Stored`. None where `paths` are files.
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
        """Each of `rows` (sorted; default all) and its picture as it is stored, in any order; None if unreadable."""
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
        """The split with these rows alone, in this order."""
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
    """A file's content; local, or any that TensorFlow reads, such as `gs://`."""
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
    """Leaves out the pictures that could not be decoded, unless they are too many.

    Args:
        split: the split whose pictures were loaded.
        undecodable: positions of those that failed, as `load_pictures` returns them.

    Returns:
        The split without these rows; a warning names them.

    Raises:
        InputError: they are more than 1% of the split.
    """
    if not undecodable:
        return split
    failed = set(undecodable)
    names = few([split.paths[row] for row in sorted(failed)])
    found = f"{len(failed)} of {len(split)} pictures of split {split.name!r} cannot be read or decoded"
    if too_many(len(failed), len(split)):
        raise InputError(f"{found}, at most 1% may fail: mend these files or leave their rows out: {names}.")
    warnings.warn(f"{found} and are left out: {names}.", stacklevel=2)
    return split.take(row for row in range(len(split)) if row not in failed)


def too_many(failed: int, number: int) -> bool:
    """Whether so many damaged ones are refused: more than 1%."""
    return failed > _UNDECODABLE_SHARE * number


def few(names: Sequence[str]) -> str:
    """The first three of the names, and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
