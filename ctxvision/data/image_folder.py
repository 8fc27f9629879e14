"""Folders of pictures: `split/label/picture`."""

import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from ctxvision.data.folders import LeftOut, inner_folders, picture_files
from ctxvision.data.images_csv import clean, is_split
from ctxvision.data.manifest import Manifest, read_label_terms
from ctxvision.data.split import Split, few
from ctxvision.errors import InputError

_OTHER_NAMES = {"training": "train", "valid": "val", "validation": "val", "testing": "test"}


def read_image_folder(folder: str, label_column: str = "label") -> Manifest:
    """Reads the layout `split/label/picture`, such as `train/red car/1.jpg`, or `label/picture`, which is all `train`.

    Split folders are named as in `Manifest`, in any case; `training` is `train`, `valid` and `validation` are `val`,
    `testing` is `test`, `test-NAME` and `test_NAME` are `test:NAME`. The label is the name of the folder in the split,
    with underscores read as spaces; pictures may lie in deeper folders. `Manifest.left_out` counts what `picture_files`
    leaves out and the folders that are not splits. An optional `labels.json` is read as in `Manifest`.

    Args:
        folder: the folder of the data set.
        label_column: must be "label".

    Raises:
        InputError: the folder does not exist or holds no picture in this layout.
    """
    require_label_column("folder:", label_column)
    root = require_folder("folder:", folder)
    splits: dict[str, Split] = {}
    left_out: LeftOut = Counter()
    inner = inner_folders(root, left_out)
    if any(map(_split_of, inner)):
        for folder in inner:
            if (name := _split_of(folder)) is None:
                left_out[f"folder {folder!r}, which is not a split"] += 1
            else:
                split = splits.setdefault(name, Split(name, [], [], []))
                place = os.path.join(root, folder)
                _add_labels(split, place, inner_folders(place, left_out), left_out)
    else:
        splits["train"] = Split("train", [], [], [])
        _add_labels(splits["train"], root, inner, left_out)
    filled = {name: split for name, split in splits.items() if len(split)}
    if not filled:
        raise InputError(
            f"folder: must name a folder with pictures in label/picture or split/label/picture, got {root!r}, which has "
            f"{few(sorted(os.listdir(root))) or 'nothing'}: put the pictures of each label in a folder with its name."
        )
    terms = read_label_terms(Path(root, "labels.json"))
    return Manifest(root, label_column, filled, terms, f"folder:{root}", left_out)


def _add_labels(split: Split, place: str, labels: Iterable[str], left_out: LeftOut) -> None:
    """Adds the pictures of each label's folder to the split."""
    for label in labels:
        if not (name := clean(label.replace("_", " ")) or clean(label)):
            left_out["folders with an invisible name"] += 1
            continue
        row = (name,)
        for path in picture_files(os.path.join(place, label), left_out):
            split.paths.append(path)
            split.labels.append(row)
            split.queries.append(())


def require_folder(source: str, folder: str) -> str:
    """Returns the absolute path of a folder; raises an InputError if the folder does not exist."""
    root = os.path.abspath(folder)
    if not os.path.isdir(root):
        raise InputError(f"{source} must name a folder, got {folder!r}, which is not one: check the path.")
    return root


def require_label_column(source: str, label_column: str) -> None:
    """Raises an InputError unless `label_column` is "label", the only label of data sets with a fixed layout."""
    if label_column != "label":
        raise InputError(
            f"label_column must be 'label' for {source}, got {label_column!r}: leave it out, because {source} has one column of labels."
        )


def _split_of(folder: str) -> str | None:
    name = _OTHER_NAMES.get(folder.lower(), folder)
    name = re.sub(r"^test[-_](?=.)", "test:", name, flags=re.IGNORECASE)
    kind, colon, part = name.partition(":")
    name = kind.lower() + colon + part
    return name if is_split(name) else None
