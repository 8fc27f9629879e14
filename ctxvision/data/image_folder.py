"""Folders of pictures: `split/label/picture`."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from ctxvision.data.images_csv import SPLITS, clean, is_split
from ctxvision.data.manifest import Manifest, read_label_terms
from ctxvision.data.split import Split, few
from ctxvision.errors import InputError

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp")
_OTHER_NAMES = {"training": "train", "valid": "val", "validation": "val", "testing": "test"}


def read_image_folder(folder: str, label_column: str = "label") -> Manifest:
    """Reads `split/label/picture`: `train/red car/1.jpg`.

    Splits are those of `Manifest`; `valid` and `validation` are `val`, `test-NAME` and `test_NAME` are `test:NAME`. The
    label is the name of the folder in the split, underscores read as blanks; pictures may lie deeper. An optional
    `labels.json` is as of `Manifest`.

    Args:
        folder: the data set's.
        label_column: "label".

    Raises:
        InputError: no such folder, none of a split in it, or no picture; the sentence names it.
    """
    require_label_column("folder:", label_column)
    root = require_folder("folder:", folder)
    splits: dict[str, Split] = {}
    for inner in sorted(entry.name for entry in os.scandir(root) if entry.is_dir()):
        name = _split_of(inner)
        if name is None:
            continue
        split = splits.setdefault(name, Split(name, [], [], []))
        for label in sorted(entry.name for entry in os.scandir(Path(root, inner)) if entry.is_dir()):
            row = (clean(label.replace("_", " ")),)
            for path in picture_files(os.path.join(root, inner, label)):
                split.paths.append(path)
                split.labels.append(row)
                split.queries.append(())
    filled = {name: split for name, split in splits.items() if len(split)}
    if not filled:
        raise InputError(
            f"folder: must name a folder with pictures in split/label/picture, got {root!r}, which has "
            f"{few(sorted(os.listdir(root))) or 'nothing'}: name its folders {', '.join(SPLITS)}."
        )
    return Manifest(root, label_column, filled, read_label_terms(Path(root, "labels.json")), f"folder:{root}")


def picture_files(folder: str) -> Iterator[str]:
    """Paths of the pictures in a folder and below, sorted within each."""
    for inside, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            if name.lower().endswith(PICTURE_SUFFIXES):
                yield os.path.join(inside, name)


def require_folder(source: str, folder: str) -> str:
    """The folder, absolute; an InputError where there is none."""
    root = os.path.abspath(folder)
    if not os.path.isdir(root):
        raise InputError(f"{source} must name a folder, got {folder!r}, which is none: check the path.")
    return root


def require_label_column(source: str, label_column: str) -> None:
    """Refuses another label than the one that such data sets have."""
    if label_column != "label":
        raise InputError(
            f"label_column must be 'label' for {source}, got {label_column!r}: leave it out, such data has one label."
        )


def _split_of(folder: str) -> str | None:
    name = re.sub(r"^test[-_](?=.)", "test:", _OTHER_NAMES.get(folder, folder))
    return name if is_split(name) else None
