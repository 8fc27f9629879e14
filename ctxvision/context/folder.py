"""Creates the folder of a context, or opens it again for the same settings and data."""

import os
from pathlib import Path
from typing import Any

from ctxvision._files import write_json
from ctxvision.context.config import ContextConfig
from ctxvision.context.context import FORMAT, Context, read_context
from ctxvision.context.towers import new_phrase_generator
from ctxvision.data.source import Source
from ctxvision.errors import InputError
from ctxvision.training.data_facts import data_facts
from ctxvision.training.stages import Stages
from ctxvision.training.versions import installed_versions, source_commit


def create_context(
    directory: str | os.PathLike[str],
    config: ContextConfig,
    data: Source,
    kind: str,
    licence: str = "",
    made_from: dict[str, Any] | None = None,
) -> Context:
    """Creates the folder of a context, or opens the folder that the same settings and data created.

    Args:
        directory: folder of the context.
        config: settings, with the absolute path of the tower.
        data: source of the context's data.
        kind: see `Context`.
        licence: licence of the data or towers, for the card.
        made_from: further facts about the sources of the context.

    Raises:
        InputError: the folder holds a partly trained context of other settings, data or kind.
    """
    folder = Path(directory)
    stored: dict[str, Any] = {
        "format": FORMAT,
        "kind": kind,
        "settings": config.to_dict(),
        "data": data_facts(data, folder),
        "made_from": made_from or {},
        "licence": licence,
        "versions": installed_versions(),
        "commit": source_commit(),
    }
    exists = (folder / "context.json").is_file()
    before = read_context(folder) if exists else {}
    if exists and Stages(folder, "").begun:
        changed = [k for k, v in stored["settings"].items() if before["settings"].get(k, v) != v]
        changed += ["data"] if before["data"]["sha256"] != stored["data"]["sha256"] else []
        changed += [name for name in ("kind", "made_from") if before[name] != stored[name]]
        if changed:
            raise InputError(
                f"out must be a new folder or a context made with the same settings, got {str(directory)!r} where "
                f"{', '.join(changed)} differ: choose another folder, or delete this one."
            )
    else:
        if config.phrase_weights or Path(config.phrase_backbone).is_file():
            # Raises before the folder is created if the weights cannot be loaded.
            new_phrase_generator(config, pretrained=True)
        (folder / "pictures.json").unlink(missing_ok=True)
        write_json(folder / "context.json", stored)
    return Context(folder)
