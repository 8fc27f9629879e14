"""Describes the data that a context or a run was made from, so that other data is noticed."""

import hashlib
import os
from pathlib import Path
from typing import Any

from ctxvision.data.manifest import Manifest
from ctxvision.data.source import Source, absolute, is_folder, load_data, source_names


def data_facts(
    data: Source, owner: Path, label_column: str = "label", manifest: Manifest | None = None
) -> dict[str, Any]:
    """Returns `name`, `folder`, `sha256` and `labels_sha256` of data.

    `folder` is the source, one or a list, with absolute paths. A folder inside `owner` is relative to `owner`, so that
    both can be moved together. `sha256` is the digest of `images.csv`, and `labels_sha256` that of `labels.json`; each
    is "" if the file is missing. For other sources, they are digests of the manifest's rows and of its label terms.

    Args:
        data: the source, see `load_data`.
        owner: the folder of the context or run.
        label_column: column of the labels.
        manifest: the loaded manifest, to save loading it again.
    """
    names = source_names(data)
    if not is_folder(names):
        places = [absolute(name) for name in names]
        manifest = manifest or load_data(names, label_column)
        return {
            "name": source_name(data),
            "folder": places if len(places) > 1 else places[0],
            "sha256": _fingerprint(manifest),
            "labels_sha256": hashlib.sha256(repr(sorted(manifest.label_terms.items())).encode()).hexdigest(),
        }
    folder = Path(names[0])
    table, labels = folder / "images.csv", folder / "labels.json"
    inside = table.resolve().is_relative_to(owner.resolve())
    return {
        "name": source_name(data),
        "folder": os.path.relpath(folder, owner) if inside else str(folder.resolve()),
        "sha256": file_digest(table) if table.is_file() else "",
        "labels_sha256": file_digest(labels) if labels.is_file() else "",
    }


def located(folder: str | list[str], owner: Path) -> str | list[str]:
    """Returns the source that `data_facts` described as `folder`."""
    if isinstance(folder, str) and is_folder([folder]) and not os.path.isabs(folder):
        return str(owner / folder)
    return folder


def file_digest(path: str | os.PathLike[str]) -> str:
    """Returns the SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def source_name(data: Source) -> str:
    """Returns the name of a data set in records: a folder's name; the names of several sources joined by "+"."""
    names = source_names(data)
    if is_folder(names):
        return Path(names[0]).resolve().name
    return "+".join(_name(absolute(name)) for name in names)


def _name(place: str) -> str:
    path = Path(place if is_folder([place]) else place.partition(":")[2].partition("?")[0])
    return path.parent.name if "*" in path.name else path.name


def _fingerprint(manifest: Manifest) -> str:
    digest = hashlib.sha256()
    for name, split in manifest.by_split.items():
        digest.update(f"{name} {len(split)}\n".encode())
        for row in zip(split.paths, split.labels, split.queries, split.absent or [()] * len(split)):
            path, *others = row
            digest.update(repr((os.path.basename(path), *others)).encode())
    return digest.hexdigest()
