"""WebVision 1.0 in its released layout: pictures that Google and Flickr returned for queries."""

import os
from pathlib import Path

from ctxvision._files import open_text
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

    - `info/synsets.txt`: synsets and their terms, in the order of the label numbers, in the format of `read_imagenet`.
    - `info/queries_google.txt`, `info/queries_flickr.txt`: "12 great white shark", a query's number and text.
    - `info/train_filelist_google.txt`, `info/train_filelist_flickr.txt`: "google/q0012/abc.jpg 2", a picture in the
      folder of its query and its label number from 0.
    - `info/val_filelist.txt`: "val000001.jpg 2", pictures in `val_images_256` (or `val_images`, `val`).

    Split `web` has the pictures of both engines, or of one if the other's file list is missing. The queries of a
    picture are the query that returned it and the terms of its synset, because text is learnt from queries that share a
    picture. Split `train` has the same pictures with the label of the query, which nobody verified. The official
    validation set, labelled by people, is split `test`.

    Args:
        folder: the folder of the data set.
        label_column: must be "label".

    Raises:
        InputError: a needed file is missing, or a line names an unknown query or label.
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
                        "unpack info.tar again."
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
            f"webvision: needs the pictures of val_filelist.txt in {_VAL_FOLDERS[0]} of {root!r}, which does not "
            "exist: unpack val_images_256.tar."
        )
    split = Split("test", [], [], [])
    for name, number, _ in _filelist(path, len(rows)):
        split.paths.append(os.path.join(root, folder, name))
        split.labels.append(rows[number])
        split.queries.append(())
    return split


def _queries(path: Path) -> dict[str, Query]:
    """Maps number to query; numbers are strings without leading zeros."""
    found = {}
    with open_text(path) as lines:
        for line in lines:
            number, _, text = line.strip().partition(" ")
            if text := clean(text.lower()):
                found[number.removeprefix("q").lstrip("0")] = Query(text, "en")
    return found


def _filelist(path: Path, num_labels: int) -> list[tuple[str, int, str]]:
    """Reads picture, label number and location of each line."""
    found = []
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            name, _, label = line.strip().rpartition(" ")
            if not line.strip():
                continue
            place = f"{path.name} line {number}"
            if not name or not label.isdecimal() or int(label) >= num_labels:
                raise InputError(
                    f"{place} must hold a picture and a label number below {num_labels}, got {line.strip()!r}: unpack "
                    "info.tar again."
                )
            found.append((name, int(label), place))
    return found


def _needed(path: Path) -> Path:
    if not path.is_file():
        raise InputError(
            f"webvision: needs {str(path)!r}, which does not exist: unpack info.tar into the folder."
        )
    return path
