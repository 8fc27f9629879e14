"""What a run's `config.json` says of its data, so that another data set is not taken for it."""

import hashlib
import os
from pathlib import Path
from typing import Any

from ctxvision._files import read_json
from ctxvision.data.manifest import Manifest
from ctxvision.data.source import Source, absolute, is_folder, load_data, source_names
from ctxvision.errors import InputError


def data_facts(data: Source, run: Path, label_column: str) -> dict[str, Any]:
    """`name`, `folder` and `sha256` of a run's data.

    `folder` is the source, one or a list, with absolute paths, or relative to the run for one that lies inside it, so
    that both can be moved; `sha256` is that of `images.csv`, of other sources that of all that they say of the pictures.
    """
    names = source_names(data)
    if not is_folder(names):
        places = [absolute(name) for name in names]
        manifest = load_data(names, label_column)
        return {
            "name": "+".join(_name(place) for place in places),
            "folder": places if len(places) > 1 else places[0],
            "sha256": _fingerprint(manifest),
        }
    folder = Path(names[0])
    table = folder / "images.csv"
    inside = table.resolve().is_relative_to(run.resolve())
    return {
        "name": folder.resolve().name,
        "folder": os.path.relpath(folder, run) if inside else str(folder.resolve()),
        "sha256": hashlib.sha256(table.read_bytes()).hexdigest() if table.is_file() else "",
    }


def located(folder: str | list[str], run: Path) -> str | list[str]:
    """The source that `data_facts` wrote down as `folder`."""
    if isinstance(folder, str) and is_folder([folder]) and not os.path.isabs(folder):
        return str(run / folder)
    return folder


def read_config(folder: Path) -> dict[str, Any]:
    """The `config.json` of a run; an InputError where it is damaged."""
    try:
        stored = read_json(folder / "config.json")
        _ = stored["settings"], stored["data"]["name"], stored["data"]["folder"], stored["data"]["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"config.json of run {str(folder)!r} is damaged ({error!r}): train a new run."
        ) from None
    return stored


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
