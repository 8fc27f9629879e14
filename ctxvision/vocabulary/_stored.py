"""Opens tables on disk and writes their next generation."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ctxvision.errors import InputError
from ctxvision.vocabulary._changes import Change
from ctxvision.vocabulary._columns import Contents, link, whole, write
from ctxvision.vocabulary.generations import (
    describe,
    generation_folder,
    locked,
    next_generation,
    open_columns,
)


class Place(NamedTuple):
    """The folder and generation that an open table belongs to.

    Attributes:
        directory: the table's folder.
        generation: the generation's number.
        inode: the inode of one of its files. It distinguishes a folder that was deleted and written again with the same
            generation number: no other file gets the inode while the table is open.
    """

    directory: Path
    generation: int
    inode: int


def open_table(directory: Path) -> tuple[Contents, Place]:
    """Opens the current generation."""
    facts, columns, inode = open_columns(directory)
    return Contents(columns, facts["language_codes"], facts["hash_buckets"]), Place(
        directory, facts["generation"], inode
    )


def write_table(directory: Path, table: Contents) -> tuple[Contents, Place]:
    """Writes all columns as the next generation of a folder."""
    with locked(directory, create=True):
        with next_generation(directory, describe(*table)) as folder:
            for name, column in table.columns.items():
                write(folder / f"{name}.npy", whole(column))
        return open_table(directory)


def write_change(place: Place, table: Contents, change: Change) -> tuple[Contents, Place]:
    """Writes the changed columns and links the others, as the generation after `place`."""
    after = {name: whole(column) for name, column in table.columns.items()} | change.streams
    facts = describe(after, change.language_codes, table.hash_buckets)
    old = generation_folder(place.directory, place.generation)
    with _writing(place):
        with next_generation(place.directory, facts) as folder:
            for name, stream in after.items():
                target = folder / f"{name}.npy"
                if name in change.streams:
                    write(target, stream)
                else:
                    link(old / target.name, target)
        return open_table(place.directory)


@contextmanager
def _writing(place: Place) -> Iterator[None]:
    """Holds the folder's lock and checks that the folder is still at the generation of `place`."""
    with locked(place.directory):
        now = open_table(place.directory)[1]
        if now != place:
            raise InputError(
                f"phrase table {str(place.directory)!r} must be at generation {place.generation}, the one that was "
                f"loaded, got {now.generation}, written by another process: load the table again."
            )
        yield
