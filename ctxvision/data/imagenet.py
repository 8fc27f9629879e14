"""ImageNet in its released layout: a folder of pictures per synset."""

import csv
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from ctxvision._files import open_text
from ctxvision.data.folders import inner_folders, picture_files
from ctxvision.data.image_folder import require_folder, require_label_column
from ctxvision.data.manifest import Manifest
from ctxvision.data.split import Split
from ctxvision.errors import InputError

_PICTURES = ("ILSVRC/Data/CLS-LOC", "Data/CLS-LOC", ".")
_MAPPING, _SOLUTION = "LOC_synset_mapping.txt", "LOC_val_solution.csv"


def read_imagenet(folder: str, label_column: str = "label") -> Manifest:
    """Reads the classification data of ILSVRC.

    Pictures are `train/SYNSET/*.JPEG` and `val`, in the folder or in its `ILSVRC/Data/CLS-LOC` or `Data/CLS-LOC`. `val`
    has synset folders too, or is flat with its labels in `LOC_val_solution.csv`. `LOC_synset_mapping.txt` has a line
    per synset with its number and terms: "n01443537 goldfish, Carassius auratus". The first term is the label; if
    several synsets share it, the synset's number is appended. All terms become `Manifest.label_terms`.

    The official `val` becomes split `test`, because the released test set has no labels. Training holds out a part of
    `train` as `val`.

    Args:
        folder: the folder of the data set.
        label_column: must be "label".

    Raises:
        InputError: a needed file is missing, or a synset has no line in the mapping.
    """
    require_label_column("imagenet:", label_column)
    root = require_folder("imagenet:", folder)
    pictures = next(
        (path for path in (Path(root, name) for name in _PICTURES) if (path / "train").is_dir()), None
    )
    if pictures is None:
        raise InputError(
            f"imagenet: must name a folder with train/SYNSET/*.JPEG or ILSVRC/Data/CLS-LOC/train, got {root!r}, "
            "which has neither: unpack the archive there."
        )
    terms = read_synsets(_needed(root, _MAPPING))
    labels = synset_labels(terms)
    train = Split("train", [], [], [])
    _add_folders(train, pictures / "train", labels)
    splits = {"train": train}
    if (pictures / "val").is_dir():
        test = splits["test"] = Split("test", [], [], [])
        if inner_folders(str(pictures / "val"), Counter()):
            _add_folders(test, pictures / "val", labels)
        else:
            _add_solution(test, pictures / "val", _needed(root, _SOLUTION), labels)
    words = {labels[synset]: all_terms for synset, all_terms in terms.items()}
    return Manifest(root, label_column, splits, words, f"imagenet:{root}")


def read_synsets(path: Path) -> dict[str, list[str]]:
    """Maps synset to terms, in the order of a file with lines such as "n01443537 goldfish, Carassius auratus"."""
    terms = {}
    with open_text(path) as lines:
        for line in lines:
            synset, _, names = line.strip().partition(" ")
            if synset:
                terms[synset] = [name for name in map(str.strip, names.split(",")) if name] or [synset]
    return terms


def synset_labels(terms: Mapping[str, list[str]]) -> dict[str, str]:
    """Maps synset to label: its first term, with the synset appended if several synsets share that term."""
    times = Counter(names[0] for names in terms.values())
    return {s: names[0] if times[names[0]] == 1 else f"{names[0]} ({s})" for s, names in terms.items()}


def _add_folders(split: Split, folder: Path, labels: Mapping[str, str]) -> None:
    for synset in inner_folders(str(folder), Counter()):
        label = _label(labels, synset, folder / synset)
        for path in picture_files(str(folder / synset)):
            _add(split, path, label)


def _add_solution(split: Split, folder: Path, solution: Path, labels: Mapping[str, str]) -> None:
    """Adds pictures of a csv "ImageId,PredictionString": the second column lists synset and box of each object.

    All objects of a picture have one synset.
    """
    with open_text(solution, newline="") as file:
        for row in csv.DictReader(file):
            path = folder / f"{row['ImageId']}.JPEG"
            _add(split, str(path), _label(labels, row["PredictionString"].split()[0], solution))


def _add(split: Split, path: str, label: str) -> None:
    split.paths.append(path)
    split.labels.append((label,))
    split.queries.append(())


def _label(labels: Mapping[str, str], synset: str, place: Path) -> str:
    if synset not in labels:
        raise InputError(
            f"{_MAPPING} must have a line for every synset, got none for {synset!r} of {str(place)!r}: add the line."
        )
    return labels[synset]


def _needed(root: str, name: str) -> Path:
    path = Path(root, name)
    if not path.is_file():
        raise InputError(
            f"imagenet: needs {name} in {root!r}, which does not exist: put it beside the pictures."
        )
    return path
