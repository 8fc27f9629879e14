"""A folder of numbered generations; `table.json` names the current one.

    DIR/table.json            describes the table and names its generation; replaced by rename
    DIR/generation-<n>/*.npy  the columns; rows of a generation never change after table.json names it
    DIR/.lock                 held by the writer

Readers need no lock: the files of an old generation exist as long as they are mapped. A later generation may share a
file that holds more rows, after those of the old one. Changed rows of a wide column are in two files beside it,
`<column>.rows.npy` and `<column>.values.npy`, so that a small change need not copy the column.
"""

import fcntl
import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from ctxvision._files import read_json
from ctxvision.errors import InputError

FORMAT_VERSION = 3
# Tables with changed rows beside a column, which older versions of the library would ignore.
PATCHED_VERSION = 4
LOCK_SECONDS = 60.0
# Columns of format version 1, whose files lie beside table.json.
VERSION_1 = {"phrases", "phrase_ends", "prototypes", "counts", "languages", "text_embeddings"}

_OURS = re.compile(r"generation-\d+|\.lock")


def read_facts(directory: Path) -> dict[str, Any]:
    """Reads table.json.

    Raises:
        InputError: the file does not exist, is damaged, or has another format version.
    """
    try:
        facts = read_json(directory / "table.json")
        version = facts["format_version"]
    except (FileNotFoundError, NotADirectoryError):
        raise no_table(directory) from None
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(directory, f"table.json: {error}") from None
    if version not in (FORMAT_VERSION, PATCHED_VERSION):
        raise InputError(
            f"phrase table {str(directory)!r} must have format version {FORMAT_VERSION}, got {version}: "
            f"write the table again with this version of ctxvision."
        )
    return facts


def open_columns(directory: Path) -> tuple[dict[str, Any], dict[str, np.ndarray], int]:
    """Reads table.json, memory-maps the columns of its generation, and returns both with the inode of a column.

    Raises:
        InputError: as in `read_facts`, or a column is missing, truncated or of another shape than in table.json.
    """
    facts = read_facts(directory)
    while True:
        try:
            folder = generation_folder(directory, facts["generation"])
            inode = os.stat(folder / "prototypes.npy").st_ino
            columns = {name: _open(folder, name, *kind) for name, kind in _layout(facts).items()}
            columns |= {name: _patched(folder, name, columns[name]) for name in facts.get("patched", [])}
            if columns["phrase_ends"][-1] != len(columns["phrases"]):
                raise ValueError(f"phrase_ends.npy: the last is {columns['phrase_ends'][-1]}")
            if not all(isinstance(code, str) for code in facts["language_codes"]):
                raise ValueError(f"table.json: languages {facts['language_codes']}")
            return facts, columns, inode
        except FileNotFoundError as error:
            # A writer may have replaced the generation since table.json was read.
            before, facts = facts, read_facts(directory)
            if facts == before:
                raise damaged(directory, error) from None
        except (OSError, EOFError, ValueError, LookupError, TypeError) as error:
            raise damaged(directory, error) from None


def generation_folder(directory: Path, generation: int) -> Path:
    return directory / f"generation-{int(generation)}"


def damaged(directory: Path, error: object) -> InputError:
    return InputError(f"phrase table {str(directory)!r} is damaged ({error}): save it again.")


def no_table(directory: Path) -> InputError:
    return InputError(f"directory must hold a phrase table, got {str(directory)!r}: save one there first.")


@contextmanager
def locked(directory: Path, create: bool = False) -> Iterator[None]:
    """Holds the folder's lock, so that nobody else writes there.

    Args:
        directory: the table's folder.
        create: makes a missing folder, and removes it at the end if nothing was written.

    Raises:
        InputError: another process holds the lock for `LOCK_SECONDS`; `create` is True and the folder holds something
            other than a phrase table; or `create` is False and the folder does not exist.
    """
    new = not directory.exists()
    lock = _acquire(directory, create)
    try:
        yield
    finally:
        if create and directory.exists() and os.listdir(directory) == [".lock"]:
            (directory / ".lock").unlink()
            # A waiting process may have made another lock there.
            with suppress(OSError):
                if new:
                    directory.rmdir()
        os.close(lock)


@contextmanager
def next_generation(directory: Path, facts: dict[str, Any]) -> Iterator[Path]:
    """Yields a folder for columns, which becomes the current generation at the end, or is removed after an exception.

    The caller must hold the lock. Other generations are deleted, the old current generation only after the new one has
    replaced it.

    Args:
        directory: the table's folder.
        facts: the result of `describe` for the columns, and optionally `patched`, the names of columns with changed rows
            beside them; the caller may fill it until the end.
    """
    current = _current(directory)
    _sweep(directory, keep=current)
    number = 1 + max([current or 0, *_numbers(directory)])
    folder = generation_folder(directory, number)
    folder.mkdir()
    try:
        yield folder
        version = PATCHED_VERSION if facts.get("patched") else FORMAT_VERSION
        text = json.dumps({"format_version": version, "generation": number, **facts}, indent=1)
        (folder / "table.json").write_text(text + "\n", encoding="utf-8")
        os.replace(folder / "table.json", directory / "table.json")
    except BaseException:
        if _current(directory) != number:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    _sweep(directory, keep=number)


def describe(
    columns: Mapping[str, Any], language_codes: list[str], hash_buckets: int | None
) -> dict[str, Any]:
    """Makes the contents of table.json from columns (arrays, or objects with shape and dtype)."""
    text, ngrams = columns.get("text_embeddings"), columns.get("ngrams")
    return {
        "rows": columns["prototypes"].shape[0],
        "dim": columns["prototypes"].shape[1],
        "dtype": columns["prototypes"].dtype.name,
        "text_dim": None if text is None else text.shape[1],
        "ngrams": None if ngrams is None else ngrams.shape[1],
        "hash_buckets": hash_buckets,
        "phrase_bytes": columns["phrases"].shape[0],
        "language_codes": list(language_codes),
        "flags": [name.removeprefix("flag_") for name in columns if name.startswith("flag_")],
    }


def _layout(facts: dict[str, Any]) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Lists dtype and shape of each column."""
    rows, text_dim, ngrams = facts["rows"], facts["text_dim"], facts["ngrams"]
    layout = {
        "phrases": ("uint8", (facts["phrase_bytes"],)),
        "phrase_ends": ("int64", (rows,)),
        "hashes": ("uint64", (rows,)),
        "hash_rows": ("int32", (rows,)),
        "prototypes": (facts["dtype"], (rows, facts["dim"])),
        "counts": ("int64", (rows,)),
        "language_ids": ("int16", (rows,)),
        "live": ("bool", (rows,)),
        **{f"flag_{name}": ("bool", (rows,)) for name in facts["flags"]},
    }
    if text_dim is not None:
        layout["text_embeddings"] = ("float32", (rows, text_dim))
    if ngrams is not None:
        layout["ngrams"] = ("uint16", (rows, ngrams))
    return layout


def _open(folder: Path, name: str, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    path = folder / f"{name}.npy"
    column = np.load(path, mmap_mode="r", allow_pickle=False)
    if column.dtype != dtype or column.shape[1:] != shape[1:] or len(column) < shape[0]:
        raise ValueError(
            f"{name}.npy: {column.dtype.name} {list(column.shape)} instead of {dtype} {list(shape)}"
        )
    if len(column) == shape[0]:
        return column
    # A later generation, or one that was never finished, has appended rows.
    return np.memmap(path, column.dtype, "r", column.offset, shape)


def _patched(folder: Path, name: str, column: Any) -> np.ndarray:
    """Maps a column again with its changed rows, which alone are copied to memory."""
    rows, values = read_patch(folder, name)
    patched = np.memmap(folder / f"{name}.npy", column.dtype, "c", column.offset, column.shape)
    patched[rows] = values
    patched.flags.writeable = False
    return patched


def read_patch(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Reads the changed rows of a column: their numbers, int64 [K] ascending, and their values [K, ...]."""
    rows, values = (np.load(path, allow_pickle=False) for path in patch_files(folder, name))
    return rows, values


def patch_files(folder: Path, name: str) -> tuple[Path, Path]:
    return folder / f"{name}.rows.npy", folder / f"{name}.values.npy"


def _acquire(directory: Path, create: bool) -> int:
    end = time.monotonic() + LOCK_SECONDS
    while True:
        lock = _try_lock(directory, create)
        if lock is not None:
            return lock
        if time.monotonic() > end:
            raise InputError(
                f"phrase table {str(directory)!r} must have one writer at a time, got another that did not end within "
                f"{LOCK_SECONDS:g} s: try again later."
            )
        time.sleep(0.02)


def _try_lock(directory: Path, create: bool) -> int | None:
    """Returns the open lock, or None if another process holds it or has just deleted it."""
    try:
        if create:
            _refuse_what_is_no_table(directory)
            directory.mkdir(parents=True, exist_ok=True)
        lock = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    except (FileNotFoundError, FileExistsError, NotADirectoryError):
        if create:
            return None
        raise no_table(directory) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(lock), os.stat(directory / ".lock")):
            return lock
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(lock)
    return None


def _refuse_what_is_no_table(directory: Path) -> None:
    if not directory.exists() or (directory / "table.json").is_file():
        return
    if directory.is_file() or not all(_OURS.fullmatch(name) for name in os.listdir(directory)):
        raise InputError(
            f"directory must be new, empty or a phrase table's, got {str(directory)!r}, which holds something else: "
            "choose another."
        )


def _current(directory: Path) -> int | None:
    """Returns the number of the current generation, None if table.json cannot be read."""
    try:
        return int(read_facts(directory)["generation"])
    except (InputError, LookupError, TypeError, ValueError):
        return None


def _numbers(directory: Path) -> list[int]:
    names = (path.name.partition("-") for path in directory.glob("generation-*"))
    return [int(number) for _, _, number in names if number.isdecimal()]


def _sweep(directory: Path, keep: int | None) -> None:
    """Deletes other generations and the files of format version 1."""
    if keep is None and (directory / "table.json").exists():
        # An unreadable table.json may name a generation that somebody still needs, until there is a new one.
        return
    for number in _numbers(directory):
        if number != keep:
            shutil.rmtree(generation_folder(directory, number), ignore_errors=True)
    for path in directory.glob("*.npy"):
        if path.stem in VERSION_1:
            path.unlink(missing_ok=True)
