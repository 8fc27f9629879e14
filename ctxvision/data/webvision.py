"""WebVision 1.0 as it is released: pictures that Google and Flickr gave for queries."""

import os
from pathlib import Path

from ctxvision.data.image_folder import require_folder, require_label_column
from ctxvision.data.imagenet import read_synsets, synset_labels
from ctxvision.data.images_csv import clean
from ctxvision.data.manifest import Manifest
from ctxvision.data.split import Query, Split
from ctxvision.errors import InputError

_ENGINES = ("google", "flickr")
_VAL_FOLDERS = ("val_images_256", "val_images", "val")


def read_webvision(folder: str, label_column: str = "label") -> Manifest:
    """Reads WebVision 1.0.

    - `info/synsets.txt`: synsets and their terms, in the order of the label numbers, as of `read_imagenet`.
    - `info/queries_google.txt`, `info/queries_flickr.txt`: "12 great white shark", a query's number and text.
    - `info/train_filelist_google.txt`, `info/train_filelist_flickr.txt`: "google/q0012/abc.jpg 2", a picture in the
      folder of its query and its label number from 0.
    - `info/val_filelist.txt`: "val000001.jpg 2", pictures in `val_images_256` (or `val_images`, `val`).

    Split `web` has the pictures of both engines (of one, where the other's list is not there). A picture's queries are
    the one that gave it, and the terms of its synset: text is learnt from queries that share a picture. Split `train` is
    the same pictures with the label that the query stands for, which nobody has verified; the official validation set,
    labelled by people, is split `test`.

    Args:
        folder: the data set's.
        label_column: "label".

    Raises:
        InputError: a file that must be there is not, or a line that names no known query or label.
    """
    require_label_column("webvision:", label_column)
    root = require_folder("webvision:", folder)
    info = Path(root, "info")
    terms = read_synsets(_needed(info / "synsets.txt"))
    labels = synset_labels(terms)
    synsets = list(terms)
    rows = [(labels[synset],) for synset in synsets]
    words = [
        [Query(text, "en") for text in dict.fromkeys(clean(w.lower()) for w in terms[s])] for s in synsets
    ]
    web = Split("web", [], [], [])
    lists = [engine for engine in _ENGINES if (info / f"train_filelist_{engine}.txt").is_file()]
    if not lists:
        _needed(info / f"train_filelist_{_ENGINES[0]}.txt")
    for engine in lists:
        queries = _queries(_needed(info / f"queries_{engine}.txt"))
        known: dict[tuple[str, int], tuple[Query, ...]] = {}
        for path, number, line in _filelist(info / f"train_filelist_{engine}.txt", len(synsets)):
            key = (path.split("/")[-2] if "/" in path else "", number)
            if key not in known:
                query = queries.get(key[0].removeprefix("q").lstrip("0"))
                if query is None:
                    raise InputError(
                        f"{line} must name a picture in the folder of a query of queries_{engine}.txt, got {path!r}: "
                        "unpack info.tar anew."
                    )
                known[key] = tuple(dict.fromkeys([query, *words[number]]))
            web.paths.append(os.path.join(root, path))
            web.labels.append(rows[number])
            web.queries.append(known[key])
    nothing: list[tuple[Query, ...]] = [()] * len(web)
    splits = {"web": web, "train": Split("train", web.paths, web.labels, nothing)}
    if (info / "val_filelist.txt").is_file():
        splits["test"] = _validation(root, info / "val_filelist.txt", rows)
    return Manifest(root, label_column, splits, {labels[s]: terms[s] for s in synsets}, f"webvision:{root}")


def _validation(root: str, path: Path, rows: list[tuple[str]]) -> Split:
    folder = next((name for name in _VAL_FOLDERS if Path(root, name).is_dir()), None)
    if folder is None:
        raise InputError(
            f"webvision: needs the pictures of val_filelist.txt in {_VAL_FOLDERS[0]} of {root!r}, it is not there: unpack "
            "val_images_256.tar."
        )
    split = Split("test", [], [], [])
    for name, number, _ in _filelist(path, len(rows)):
        split.paths.append(os.path.join(root, folder, name))
        split.labels.append(rows[number])
        split.queries.append(())
    return split


def _queries(path: Path) -> dict[str, Query]:
    """Number to query; numbers without leading zeros, as texts."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        number, _, text = line.strip().partition(" ")
        if text := clean(text.lower()):
            found[number.removeprefix("q").lstrip("0")] = Query(text, "en")
    return found


def _filelist(path: Path, num_labels: int) -> list[tuple[str, int, str]]:
    """Picture, label number and place of each line."""
    found = []
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            name, _, label = line.strip().rpartition(" ")
            if not line.strip():
                continue
            place = f"{path.name} line {number}"
            if not name or not label.isdecimal() or int(label) >= num_labels:
                raise InputError(
                    f"{place} must hold a picture and a label number below {num_labels}, got {line.strip()!r}: unpack "
                    "info.tar anew."
                )
            found.append((name, int(label), place))
    return found


def _needed(path: Path) -> Path:
    if not path.is_file():
        raise InputError(f"webvision: needs {str(path)!r}, it is not there: unpack info.tar into the folder.")
    return path
