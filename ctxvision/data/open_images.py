"""Open Images v4 to v7 in its released layout: image-level labels, verified by people as present or absent."""

import csv
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ctxvision._files import open_text, read_json
from ctxvision.data.folders import picture_files
from ctxvision.data.image_folder import require_folder, require_label_column
from ctxvision.data.imagenet import synset_labels
from ctxvision.data.images_csv import clean
from ctxvision.data.manifest import Manifest
from ctxvision.data.split import Query, Split
from ctxvision.errors import InputError

# Maps a split to its names in the files of the releases.
_SUBSETS = {"train": ("train",), "val": ("validation", "val"), "test": ("test",)}
_LABELS = r"(oidv\d-)?{subset}-annotations-human-imagelabels(-boxable)?\.csv"
_DESCRIPTIONS = r"(oidv\d-)?class-descriptions(-boxable)?\.csv"
_HIERARCHY = r".*hierarchy.*\.json"


def read_open_images(folder: str, label_column: str = "label") -> Manifest:
    """Reads Open Images for training with `multi_label`.

    The files are searched in the folder and below it, by their names in v4 and v5
    ("train-annotations-human-imagelabels.csv"), v6 and v7 ("oidv7-val-annotations-human-imagelabels.csv"):

    - `*-annotations-human-imagelabels.csv` (also `-boxable`): ImageID, Source, LabelName, Confidence. Confidence 1 is a
      label that people saw in the picture, 0 a label that they looked for and did not see. Machine-generated labels are
      not read.
    - `class-descriptions.csv`: LabelName and display name, with or without a header.
    - Optional, the hierarchy of classes as JSON (`bbox_labels_600_hierarchy.json`): a present label adds all classes
      above it, an absent label makes all classes below it absent. `Part` relations add nothing.
    - The pictures `train/ID.jpg`, `validation/ID.jpg`, `test/ID.jpg`. Rows whose picture is missing are left out.

    Labels are display names. Losses and metrics ignore labels that nobody verified. Labels that no picture of `train`
    has are left out everywhere. The queries of a picture of `train` are the names of its labels.

    Args:
        folder: the folder of the data set.
        label_column: must be "label".

    Raises:
        InputError: a needed file is missing, or a row names an unknown class.
    """
    require_label_column("open-images:", label_column)
    root = require_folder("open-images:", folder)
    files = sorted(
        os.path.join(at, name) for at, _, names in os.walk(root) for name in names if _is_table(name)
    )
    described = _matching(files, _DESCRIPTIONS)
    if not described:
        raise InputError(
            f"open-images: needs class-descriptions.csv in {root!r}, which does not exist: download it."
        )
    names = _descriptions(described)
    parents = _parents(_matching(files, _HIERARCHY), names)
    children = _reversed(parents)
    splits: dict[str, Split] = {}
    for name, subsets in _SUBSETS.items():
        labels = [path for subset in subsets for path in _matching(files, _LABELS.format(subset=subset))]
        split = _split(root, name, subsets, labels, names, parents, children)
        if len(split):
            splits[name] = split
    if "train" not in splits:
        raise InputError(
            f"open-images: needs train-annotations-human-imagelabels.csv and pictures train/ID.jpg in {root!r}, "
            "got no labels with pictures: download both, or name the folder above them."
        )
    trained = {label for row in splits["train"].labels for label in row}
    known = {name: _only(split, trained) for name, split in splits.items()}
    return Manifest(root, label_column, known, {}, f"open-images:{root}")


def _split(
    root: str,
    name: str,
    subsets: Iterable[str],
    tables: list[str],
    names: Mapping[str, str],
    parents: Mapping[str, set[str]],
    children: Mapping[str, set[str]],
) -> Split:
    pictures = {
        Path(path).stem: path for subset in subsets for path in picture_files(os.path.join(root, subset))
    }
    present: dict[str, dict[str, None]] = {}  # inner dicts are sets that keep the order of the file
    absent: dict[str, dict[str, None]] = {}
    missing = set()
    for image, label, confidence in _verified(tables, names):
        if image not in pictures:
            missing.add(image)
            continue
        (present if confidence else absent).setdefault(image, {})[label] = None
    if missing and pictures:
        warnings.warn(
            f"{len(missing)} pictures of Open Images' {name} have labels but no file in {root!r} and are left out.",
            stacklevel=4,
        )
    split = Split(name, [], [], [], [])
    assert split.absent is not None
    for image in sorted(present.keys() | absent.keys()):
        seen = present.get(image, {})
        there = dict.fromkeys([*seen, *(above for label in seen for above in sorted(_all(label, parents)))])
        gone = absent.get(image, {})
        nowhere = dict.fromkeys(
            [*gone, *(below for label in gone for below in sorted(_all(label, children)))]
        )
        split.paths.append(pictures[image])
        split.labels.append(tuple(names[label] for label in there))
        split.absent.append(tuple(names[label] for label in nowhere if label not in there))
        words = dict.fromkeys(clean(names[label].lower()) for label in there) if name == "train" else {}
        split.queries.append(tuple(Query(word, "en") for word in words))
    return split


def _verified(tables: Iterable[str], names: Mapping[str, str]) -> Iterator[tuple[str, str, bool]]:
    """Yields picture, class, and whether the class is present."""
    for path in tables:
        with open_text(path, newline="") as file:
            rows = csv.DictReader(file)
            for column in ("ImageID", "LabelName", "Confidence"):
                if column not in (rows.fieldnames or ()):
                    raise InputError(
                        f"{path} must have a column {column!r}, got {rows.fieldnames}: download it again."
                    )
            for row in rows:
                if row["LabelName"] not in names:
                    raise InputError(
                        f"class-descriptions.csv must name every class, got none for {row['LabelName']!r} in line "
                        f"{rows.line_num} of {path}: use the class-descriptions.csv of the same release."
                    )
                yield row["ImageID"], row["LabelName"], float(row["Confidence"]) >= 0.5


def _descriptions(tables: Iterable[str]) -> dict[str, str]:
    """Maps class to name, with the class appended if several classes share the name."""
    names: dict[str, list[str]] = {}
    for path in tables:
        with open_text(path, newline="") as file:
            for row in csv.reader(file):
                if len(row) >= 2 and row[0] != "LabelName":
                    names.setdefault(row[0], [clean(row[1])])
    return synset_labels(names)


def _parents(hierarchies: Iterable[str], names: Mapping[str, str]) -> dict[str, set[str]]:
    """Maps class to the classes directly above it, without the root, which is above all classes."""
    parents: dict[str, set[str]] = {}

    def walk(node: Mapping[str, Any], above: str | None) -> None:
        label = node["LabelName"]
        if above is not None and {above, label} <= names.keys():
            parents.setdefault(label, set()).add(above)
        for child in node.get("Subcategory", ()):
            walk(child, label)
        for part in node.get("Part", ()):
            walk(part, None)

    for path in hierarchies:
        for node in read_json(path).get("Subcategory", ()):  # skips the root, which is not a label
            walk(node, None)
    return parents


def _reversed(parents: Mapping[str, set[str]]) -> dict[str, set[str]]:
    children: dict[str, set[str]] = {}
    for label, above in parents.items():
        for one in above:
            children.setdefault(one, set()).add(label)
    return children


def _all(label: str, nearest: Mapping[str, set[str]]) -> set[str]:
    """Collects all classes that `nearest` reaches from a class: all above or all below it."""
    found: set[str] = set()
    waiting = [label]
    while waiting:
        new = nearest.get(waiting.pop(), set()) - found
        found |= new
        waiting += new
    return found


def _only(split: Split, labels: set[str]) -> Split:
    assert split.absent is not None
    return Split(
        split.name,
        split.paths,
        [tuple(label for label in row if label in labels) for row in split.labels],
        split.queries,
        [tuple(label for label in row if label in labels) for row in split.absent],
    )


def _is_table(name: str) -> bool:
    return name.endswith((".csv", ".json"))


def _matching(files: Iterable[str], pattern: str) -> list[str]:
    return [path for path in files if re.fullmatch(pattern, os.path.basename(path))]
