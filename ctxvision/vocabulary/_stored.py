"""Opens tables on disk and writes their next generation."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ctxvision.errors import InputError
from ctxvision.vocabulary._changes import Change
from ctxvision.vocabulary._columns import ColumnFile, Contents, Growth, Stream, link, whole, write
from ctxvision.vocabulary.generations import (
    describe,
    generation_folder,
    locked,
    next_generation,
    open_columns,
    patch_files,
    read_facts,
    read_patch,
)

# At most one row in so many of a column is changed beside it, because changed rows stay in memory while it is open.
PATCH_SHARE = 64


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
    """Writes the changes of columns and links the other columns, as the generation after `place`."""
    after = {name: whole(column) for name, column in table.columns.items()} | change.streams
    facts = describe(after, change.language_codes, table.hash_buckets)
    old = generation_folder(place.directory, place.generation)
    with _writing(place):
        patched = read_facts(place.directory).get("patched", [])
        with next_generation(place.directory, facts) as folder:
            patches = facts["patched"] = list[str]()
            for name, stream in after.items():
                files = [old / f"{name}.npy", *(patch_files(old, name) if name in patched else ())]
                if name not in change.streams:
                    growth = None
                elif _can_grow(stream, files):
                    growth = stream.growth
                else:
                    write(folder / files[0].name, stream)
                    continue
                for file in files:
                    link(file, folder / file.name)
                if growth is not None:
                    _grow(folder, name, len(table.columns[name]), stream.dtype, growth, name in patched)
                if patch_files(folder, name)[0].exists():
                    patches.append(name)
        return open_table(place.directory)


def _can_grow(stream: Stream, files: list[Path]) -> bool:
    """Tells whether a column, which may be new, can be changed without a copy of its file.

    A file that another table links to must not grow: both tables would write their own rows to the same place.
    """
    if stream.growth is None or not files[0].exists() or files[0].stat().st_nlink > 1:
        return False
    changed = len(stream.growth.at)
    if not changed:
        return True
    before = len(np.load(files[1], mmap_mode="r")) if len(files) > 1 else 0
    return len(stream.shape) > 1 and changed + before <= stream.shape[0] // PATCH_SHARE


def _grow(folder: Path, name: str, rows: int, dtype: np.dtype, growth: Growth, patched: bool) -> None:
    """Appends rows to a column of `rows` rows, and writes its changed rows beside it."""
    column = None
    for block in growth.tail():
        column = column or ColumnFile(folder / f"{name}.npy", dtype, block.shape[1:], rows)
        column.append(block)
    if column is not None:
        column.close()
    if not len(growth.at):
        return
    at, values = growth.at.astype(np.int64), growth.values().astype(dtype)
    files = patch_files(folder, name)
    if patched:
        older, its_values = read_patch(folder, name)
        kept = ~np.isin(older, at)
        at, values = np.concatenate([older[kept], at]), np.concatenate([its_values[kept], values])
    order = np.argsort(at)
    for file, array in zip(files, (at[order], values[order])):
        file.unlink(missing_ok=True)  # the old generation keeps its own
        np.save(file, array)


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
