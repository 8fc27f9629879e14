"""A folder of numbered generations, of which `table.json` names the one that counts.

    DIR/table.json            what the table is, and the generation's number; replaced by rename
    DIR/generation-<n>/*.npy  the columns; never changed once they are named
    DIR/.lock                 held by the one who writes

Whoever reads holds nothing: the files of an old generation live on while they are mapped.
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

FORMAT_VERSION = 2
LOCK_SECONDS = 60.0
# Columns of format version 1, which lay beside table.json.
VERSION_1 = {"phrases", "phrase_ends", "prototypes", "counts", "languages", "text_embeddings"}

_OURS = re.compile(r"generation-\d+|unfinished-\d+\.npy|\.lock")


def read_facts(directory: Path) -> dict[str, Any]:
    """What table.json says.

    Raises:
        InputError: there is none, it is damaged, or of another format version.
    """
    try:
        facts = read_json(directory / "table.json")
        version = facts["format_version"]
    except (FileNotFoundError, NotADirectoryError):
        raise no_table(directory) from None
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(directory, f"table.json: {error}") from None
    if version != FORMAT_VERSION:
        raise InputError(
            f"phrase table {str(directory)!r} must have format version {FORMAT_VERSION}, got {version}: "
            f"write it with this version of ctxvision."
        )
    return facts


def open_columns(directory: Path) -> tuple[dict[str, Any], dict[str, np.ndarray], int]:
    """What table.json says, the columns of the generation it names, memory-mapped, and the inode of one of them.

    Raises:
        InputError: as `read_facts`, or columns are missing, truncated or of other shapes than table.json says.
    """
    facts = read_facts(directory)
    while True:
        try:
            folder = generation_folder(directory, facts["generation"])
            inode = os.stat(folder / "prototypes.npy").st_ino
            columns = {name: _open(folder, name, *kind) for name, kind in _layout(facts).items()}
            if columns["phrase_ends"][-1] != len(columns["phrases"]):
                raise ValueError(f"phrase_ends.npy: the last is {columns['phrase_ends'][-1]}")
            if not all(isinstance(code, str) for code in facts["language_codes"]):
                raise ValueError(f"table.json: languages {facts['language_codes']}")
            return facts, columns, inode
        except FileNotFoundError as error:
            # Perhaps a writer was quicker: its generation has taken the place of the one that was read about.
            before, facts = facts, read_facts(directory)
            if facts == before:
                raise damaged(directory, error) from None
        except (OSError, EOFError, ValueError, LookupError, TypeError) as error:
            raise damaged(directory, error) from None


def generation_folder(directory: Path, generation: int) -> Path:
    return directory / f"generation-{int(generation)}"


def damaged(directory: Path, error: object) -> InputError:
    return InputError(f"phrase table {str(directory)!r} is damaged ({error}): save it anew.")


def no_table(directory: Path) -> InputError:
    return InputError(f"directory must hold a phrase table, got {str(directory)!r}: save one there first.")


@contextmanager
def locked(directory: Path, create: bool = False) -> Iterator[None]:
    """Holds the folder's lock; nobody else writes there meanwhile.

    Args:
        directory: the table's folder.
        create: make the folder if it is missing; without anything written there it goes again at the end.

    Raises:
        InputError: somebody else held the lock for `LOCK_SECONDS`, the folder to be made holds something that is no
            phrase table, or the folder that should be there is gone.
    """
    new = not directory.exists()
    lock = _acquire(directory, create)
    try:
        yield
    finally:
        if create and directory.exists() and os.listdir(directory) == [".lock"]:
            (directory / ".lock").unlink()
            # Whoever waits may have made another lock there.
            with suppress(OSError):
                if new:
                    directory.rmdir()
        os.close(lock)


@contextmanager
def next_generation(directory: Path, facts: dict[str, Any]) -> Iterator[Path]:
    """Yields a folder for columns, which becomes the table's generation at the end, or is removed after an exception.

    To be used under the lock.

    Args:
        directory: the table's folder.
        facts: what `describe` says of the columns; may be filled in while they are written.
    """
    current = _current(directory)
    _sweep(directory, keep=current)
    number = 1 + max([current or 0, *_numbers(directory)])
    folder = generation_folder(directory, number)
    folder.mkdir()
    try:
        yield folder
        text = json.dumps({"format_version": FORMAT_VERSION, "generation": number, **facts}, indent=1)
        (folder / "table.json").write_text(text + "\n", encoding="utf-8")
        os.replace(folder / "table.json", directory / "table.json")
    except BaseException:
        if _current(directory) != number:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    _sweep(directory, keep=number)


def describe(columns: Mapping[str, Any], language_codes: list[str]) -> dict[str, Any]:
    """What table.json says of columns (arrays, or anything with their shape and dtype)."""
    text = columns.get("text_embeddings")
    return {
        "rows": columns["prototypes"].shape[0],
        "dim": columns["prototypes"].shape[1],
        "dtype": columns["prototypes"].dtype.name,
        "text_dim": None if text is None else text.shape[1],
        "phrase_bytes": columns["phrases"].shape[0],
        "language_codes": list(language_codes),
        "flags": [name.removeprefix("flag_") for name in columns if name.startswith("flag_")],
    }


def _layout(facts: dict[str, Any]) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Dtype and shape of each column."""
    rows, text_dim = facts["rows"], facts["text_dim"]
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
    return layout if text_dim is None else {**layout, "text_embeddings": ("float32", (rows, text_dim))}


def _open(folder: Path, name: str, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    column = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
    if column.dtype != dtype or column.shape != shape:
        raise ValueError(
            f"{name}.npy: {column.dtype.name} {list(column.shape)} instead of {dtype} {list(shape)}"
        )
    return column


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
    """The open lock, or None if somebody else holds it or has just deleted it."""
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
            f"directory must be new, empty or hold a phrase table, got {str(directory)!r}: choose another."
        )


def _current(directory: Path) -> int | None:
    """The number of the generation that counts, None without one that can be read."""
    try:
        return int(read_facts(directory)["generation"])
    except (InputError, LookupError, TypeError, ValueError):
        return None


def _numbers(directory: Path) -> list[int]:
    names = (path.name.partition("-") for path in directory.glob("generation-*"))
    return [int(number) for _, _, number in names if number.isdecimal()]


def _sweep(directory: Path, keep: int | None) -> None:
    """Deletes what earlier writers left, finished or not."""
    if keep is None and (directory / "table.json").exists():
        # It cannot be read here: what it named may be of worth to somebody until there is another.
        return
    for number in _numbers(directory):
        if number != keep:
            shutil.rmtree(generation_folder(directory, number), ignore_errors=True)
    for path in directory.glob("*.npy"):
        if path.stem in VERSION_1 or (
            path.stem.startswith("unfinished-") and path.stem != f"unfinished-{keep}"
        ):
            path.unlink(missing_ok=True)
