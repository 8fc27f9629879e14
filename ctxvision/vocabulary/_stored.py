"""Opens tables on disk and writes their next generation."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ctxvision.errors import InputError
from ctxvision.vocabulary._changes import Change
from ctxvision.vocabulary._columns import Contents, Stream, link, whole, write
from ctxvision.vocabulary._text_embedding import Encode, embed_into
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
    return Contents(columns, facts["language_codes"]), Place(directory, facts["generation"], inode)


def write_table(directory: Path, table: Contents) -> tuple[Contents, Place]:
    """Writes all columns as the next generation of a folder."""
    with locked(directory, create=True):
        with next_generation(directory, describe(*table)) as folder:
            for name, column in table.columns.items():
                write(folder / f"{name}.npy", whole(column))
        return open_table(directory)


def write_change(place: Place, table: Contents, change: Change) -> tuple[Contents, Place]:
    """Writes the changed columns and links the others, as the generation after `place`."""
    with _writing(place):
        return _write_change(place, table, change, {})


def write_text_embeddings(
    place: Place, table: Contents, encode: Encode, batch_size: int
) -> tuple[Contents, Place]:
    """Writes text embeddings of all rows as the next generation, continuing those of an interrupted call."""
    with _writing(place):
        path = place.directory / f"unfinished-{place.generation}.npy"
        text = Stream(np.dtype(np.float32), embed_into(path, table.phrases, encode, batch_size), [])
        # The file keeps its own name until the generation is complete, so a kill before that loses nothing.
        return _write_change(
            place, table, Change({"text_embeddings": text}, table.language_codes), {"text_embeddings": path}
        )


def _write_change(
    place: Place, table: Contents, change: Change, written: dict[str, Path]
) -> tuple[Contents, Place]:
    """Writes a change; `written` names files of columns that exist already."""
    after = {name: whole(column) for name, column in table.columns.items()} | change.streams
    after = {name: stream for name, stream in after.items() if name not in change.dropped}
    old = generation_folder(place.directory, place.generation)
    with next_generation(place.directory, describe(after, change.language_codes)) as folder:
        for name, stream in after.items():
            target = folder / f"{name}.npy"
            if name in change.streams and name not in written:
                write(target, stream)
            else:
                link(written.get(name, old / target.name), target)
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
