"""What a run's `config.json` says of its data, so that another data set is not taken for it."""

import hashlib
import os
from pathlib import Path
from typing import Any

from ctxvision.data.manifest import Manifest
from ctxvision.data.source import Source, absolute, is_folder, load_data, source_names


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


def _name(place: str) -> str:
    kind, _, rest = place.rpartition(":")
    return Path(rest.partition("?")[0]).name.replace("*", "") or kind or place


def _fingerprint(manifest: Manifest) -> str:
    digest = hashlib.sha256()
    for name, split in manifest.by_split.items():
        digest.update(f"{name} {len(split)}\n".encode())
        for row in zip(split.paths, split.labels, split.queries, split.absent or [()] * len(split)):
            path, *others = row
            digest.update(repr((os.path.basename(path), *others)).encode())
    return digest.hexdigest()
