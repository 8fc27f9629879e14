"""Finds the pictures in a folder and counts the entries that are left out."""

import os
from collections import Counter
from collections.abc import Iterator

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp")
# Folders and files that operating systems and programs create, in lower case.
_SYSTEM = {
    "__macosx",
    "__pycache__",
    "@eadir",
    "@recycle",
    "@recently-snapshot",
    "@tmp",
    "#recycle",
    "#snapshot",
    "$recycle.bin",
    "recycler",
    "system volume information",
    "lost+found",
    "lost.dir",
    "network trash folder",
    "temporary items",
    "_gsdata_",
    "thumbs.db",
    "desktop.ini",
    "icon\r",
}

# Maps a reason to the number of folders and files that are left out for it.
LeftOut = Counter[str]


def inner_folders(folder: str, left_out: LeftOut) -> list[str]:
    """Lists the folders in a folder, sorted, without hidden and system folders; other entries count as left out."""
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
    """Yields the paths of the pictures in a folder and its subfolders, sorted within each folder.

    Left out are hidden and system files and folders, files of other types, names that are not UTF-8, and broken links.
    Links to folders are followed; each folder is visited once.

    Args:
        folder: the folder to search.
        left_out: counter that is increased for each entry left out; None counts nothing.
    """
    yield from _pictures(folder, Counter() if left_out is None else left_out, set())


def describe(left_out: LeftOut) -> str:
    """Lists the reasons with their counts, most frequent first: "hidden 3, .txt files 1"."""
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
        if not entry.is_file():
            left_out["neither files nor folders"] += 1
        elif entry.name.lower().endswith(PICTURE_SUFFIXES):
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
    """Tells whether a name's bytes on disk are UTF-8; Python replaces other bytes by surrogates."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _reason(entry: os.DirEntry[str], left_out: LeftOut) -> bool:
    """Tells whether an entry is left out because of its name or a broken link, and counts it."""
    if entry.name.startswith((".", "~$")):
        reason = "hidden"
    elif not _is_utf8(entry.name):
        reason = "names that are not UTF-8"
    elif entry.name.lower() in _SYSTEM:
        reason = "system files"
    elif entry.is_symlink() and not os.path.exists(entry.path):
        reason = "broken links"
    else:
        return False
    left_out[reason] += 1
    return True
