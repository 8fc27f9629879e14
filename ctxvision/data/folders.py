"""What in a folder is a picture of the user's, and what is left out of it."""

import os
from collections import Counter
from collections.abc import Iterator

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp")
# Folders and files that systems and programs put beside a user's own, in lower case.
_SYSTEM = {
    "__macosx",
    "__pycache__",
    "@eadir",
    "#recycle",
    "$recycle.bin",
    "system volume information",
    "lost+found",
    "thumbs.db",
    "desktop.ini",
    "icon\r",
}

# Why something is left out, to how many folders and files that concerns.
LeftOut = Counter[str]


def inner_folders(folder: str, left_out: LeftOut) -> list[str]:
    """Names of the folders in a folder, sorted, without hidden ones and those of the system; files are left out."""
    names = []
    for entry in _entries(folder):
        if _reason(entry, left_out):
            continue
        if entry.is_dir():
            names.append(entry.name)
        elif entry.name != "labels.json":
            left_out["files beside folders"] += 1
    return names


def picture_files(folder: str, left_out: LeftOut | None = None) -> Iterator[str]:
    """Paths of the pictures in a folder and below, sorted within each.

    Hidden files and folders, those of the system, of other types or of a name that is no UTF-8, and links to nothing are
    left out. Links to
    folders are followed, each folder once.

    Args:
        folder: to look through.
        left_out: counts what is left out.
    """
    yield from _pictures(folder, Counter() if left_out is None else left_out, set())


def describe(left_out: LeftOut) -> str:
    """What was left out, most frequent first: "hidden 3, .txt files 1"."""
    return ", ".join(f"{reason} {number:,}" for reason, number in left_out.most_common())


def _pictures(folder: str, left_out: LeftOut, seen: set[str]) -> Iterator[str]:
    place = os.path.realpath(folder)
    if place in seen or not os.path.isdir(place):
        return
    seen.add(place)
    entries = [entry for entry in _entries(folder) if not _reason(entry, left_out)]
    folders = [entry.path for entry in entries if entry.is_dir()]
    for entry in entries:
        if entry.is_dir():
            continue
        if entry.name.lower().endswith(PICTURE_SUFFIXES):
            yield entry.path
        else:
            suffix = os.path.splitext(entry.name)[1].lower()
            left_out[f"{suffix} files" if suffix else "files without a suffix"] += 1
    for inner in folders:
        yield from _pictures(inner, left_out, seen)


def _entries(folder: str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as found:
        return sorted(found, key=lambda entry: entry.name)


def _is_utf8(name: str) -> bool:
    """Whether the name's bytes on disk are UTF-8: Python stands surrogates in for others."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _reason(entry: os.DirEntry[str], left_out: LeftOut) -> bool:
    """Whether an entry is left out whatever it holds; it is counted then."""
    if entry.name.startswith((".", "~$")):
        reason = "hidden"
    elif not _is_utf8(entry.name):
        reason = "of a name that is no UTF-8"
    elif entry.name.lower() in _SYSTEM:
        reason = "of the system"
    elif entry.is_symlink() and not os.path.exists(entry.path):
        reason = "links to nothing"
    else:
        return False
    left_out[reason] += 1
    return True
