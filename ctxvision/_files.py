"""Writes files and folders completely or not at all, and reads text and JSON."""

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from ctxvision.errors import InputError


def file_name(name: str) -> str:
    """Turns a name into a file name, such as "test%3Aa" for "test:a"; different names stay different."""
    return quote(name, safe=" ")


def try_lock(file: IO[str]) -> bool:
    """Locks an open file until it is closed; False if another process holds the lock."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        pass
    return True


@contextmanager
def only_here(folder: str | os.PathLike[str], what: str) -> Iterator[None]:
    """Locks a folder against other processes; creates the folder if it is missing.

    Args:
        folder: the folder.
        what: kind of the folder, for the error's text.

    Raises:
        InputError: another process works in the folder.
    """
    made, place = not Path(folder).exists(), Path(folder) / ".lock"
    Path(folder).mkdir(parents=True, exist_ok=True)
    with open(place, "a+", encoding="utf-8") as lock:
        if not try_lock(lock):
            lock.seek(0)
            raise InputError(
                f"{what} {os.fspath(folder)!r} must be in use by one process, got process "
                f"{lock.read() or 'unknown'} at work in it: wait for that process, or stop it."
            )
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        try:
            yield
        finally:
            # A waiting process can lock the removed file while a third process locks a new one. Nothing prevents this,
            # because it takes three processes within a moment.
            place.unlink(missing_ok=True)
            if made and not os.listdir(folder):  # nothing was written
                os.rmdir(folder)


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary path beside `path`, and renames the file to `path` at the end.

    The folder is created if it is missing. After an error `path` is unchanged.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    os.close(handle)
    os.chmod(name, 0o644)
    try:
        yield Path(name)
        os.replace(name, target)
    finally:
        Path(name).unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary folder beside `path`, which replaces `path` at the end; after an error `path` is unchanged."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    temporary.chmod(0o755)
    try:
        yield temporary
        if target.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
            os.replace(target, old)
            os.replace(temporary, target)
            shutil.rmtree(old)
        else:
            os.replace(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def link_or_copy(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Makes `target` a hard link to `source`, or a copy on another file system; neither may be changed afterwards."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Writes `value` as indented JSON, completely or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


@contextmanager
def open_text(path: str | os.PathLike[str], newline: str | None = None) -> Iterator[IO[str]]:
    """Opens a UTF-8 text file to read, with or without a byte order mark; `newline` is that of `open`.

    Raises:
        InputError: the file is not UTF-8; raised when the line is read.
    """
    try:
        with open(path, encoding="utf-8-sig", newline=newline) as file:
            yield file
    except UnicodeDecodeError:
        raise _not_utf8(path) from None


def _not_utf8(path: str | os.PathLike[str]) -> InputError:
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                return InputError(
                    f"{path} must be UTF-8, got byte 0x{line[error.start]:02x} in line {number}: "
                    "save the file as UTF-8."
                )
    return InputError(f"{path} must be UTF-8, got other bytes: save the file as UTF-8.")


def saved_model_content(directory: str | os.PathLike[str]) -> bytes:
    """Returns the graph of a SavedModel and the index of its variables, which together identify it; empty if missing."""
    # The index holds a checksum of each variable.
    parts = Path(directory, "saved_model.pb"), Path(directory, "variables", "variables.index")
    return b"".join(part.read_bytes() for part in parts if part.is_file())


def read_json(path: str | os.PathLike[str]) -> Any:
    """Reads a JSON file, with or without a UTF-8 byte order mark."""
    return json.loads(Path(path).read_text(encoding="utf-8-sig"))


def read_json_of(path: Path, kind: type, command: str) -> Any:
    """Reads a JSON file that must hold a `kind`, dict or list.

    Raises:
        InputError: the file is damaged or holds something else; `command` makes it again.
    """
    remedy = f"delete the file and run `{command}` again."
    try:
        value = read_json(path)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} must be JSON and is damaged ({error}); {remedy}") from error
    if not isinstance(value, kind):
        name = "object" if kind is dict else "list"
        raise InputError(f"{path} must hold a JSON {name}, got {type(value).__name__}; {remedy}")
    return value
