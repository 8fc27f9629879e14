"""Opens the folder of a run and gives its contents as Python objects."""

import functools
import os
from pathlib import Path
from typing import Any

import numpy as np

from ctxvision._files import read_json, write_json
from ctxvision.classifier.choice import Choice, read_choice
from ctxvision.classifier.concept_store import Concept, ConceptStore
from ctxvision.classifier.config import Config
from ctxvision.classifier.task import task_of
from ctxvision.classifier.towers import SHARED, new_visual_encoder, saved_model_digest, with_found_tower
from ctxvision.context.context import Context
from ctxvision.data.source import Source
from ctxvision.errors import InputError
from ctxvision.layers import VisualEncoder
from ctxvision.training.cached_features import CachedFeatures, Tower
from ctxvision.training.data_facts import data_facts, located
from ctxvision.training.loaded_data import LoadedData
from ctxvision.training.progress import Progress
from ctxvision.training.stages import Stages
from ctxvision.training.versions import installed_versions, source_commit
from ctxvision.training.weights import load_weights

FORMAT = 4
# Folder, inside a run, of the context that the run made for itself.
OWN_CONTEXT = "context"


class RunFolder:
    """Settings, stages, features and trained parts of a run; `Run` builds a classifier from them.

    Args:
        directory: folder made by `train`.
        context: folder of the run's context, if it has moved since the run was made.
        data: the run's data, if it has moved since the run was made; the run remembers the new place.

    Attributes:
        directory: the folder.
        config: the run's settings.
        stages: the finished stages of the folder.

    Raises:
        InputError: the folder holds no run, a damaged one, or one of another format; or `data` has other rows.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        context: str | os.PathLike[str] | None = None,
        data: Source | None = None,
    ):
        self.directory = Path(directory)
        if not (self.directory / "config.json").is_file():
            raise InputError(
                f"run must be a folder made by training, got {str(directory)!r}: run ctxvision train first."
            )
        self._stored = read_config(self.directory)
        self.config = Config.from_dict(self._stored["settings"])
        self.stages = Stages(self.directory, "run the same ctxvision train command again")
        self._context_folder = Path(context) if context else self.directory / self._stored["context"]
        self._visual_encoders: dict[float, VisualEncoder] = {}
        if data is not None:
            self._move_data(data)

    def _move_data(self, data: Source) -> None:
        """Writes the new place of the run's data into its configuration."""
        found = data_facts(data, self.directory, self.config.label_column)
        self._refuse_other(found, "data")
        self._stored["data"] = found
        write_json(self.directory / "config.json", self._stored)

    def _refuse_other(self, found: dict[str, Any], name: str) -> None:
        """Raises an InputError for data whose rows or label terms differ from those that the run was made with."""
        stored = self._stored["data"]
        if found["sha256"] != stored["sha256"]:
            raise InputError(
                f"{name} must say of its pictures what it said when run {str(self.directory)!r} was made, got other "
                f"rows in {found['folder']!r}: restore the rows, name the data with --data, or train a new run."
            )
        # Runs of earlier versions have no digest of the terms.
        if found["labels_sha256"] != stored.get("labels_sha256", found["labels_sha256"]):
            raise InputError(
                f"labels.json of {name} must be as it was when run {str(self.directory)!r} was made, because the head "
                f"scores labels by their terms, got others in {found['folder']!r}: restore the terms, or train a new run."
            )

    def _reopened(self) -> "RunFolder":
        """Opens the same folder again, with nothing loaded yet."""
        return RunFolder(self.directory, self._context_folder)

    @property
    def head_steps(self) -> int:
        """Training steps of a head."""
        return task_of(self.config).steps * self.config.head_steps

    # === Data and features ===

    @functools.cached_property
    def data(self) -> LoadedData:
        """The run's pictures, labels and queries.

        Raises:
            InputError: the data is not at its path, or has other rows than the run was made with.
        """
        config, source = self.config, located(self._stored["data"]["folder"], self.directory)
        # The classifier also takes pictures of the larger tower's size and resizes them for the smaller tower.
        size = max(config.image_size, self._stored["context_image_size"])
        folder = self.directory / "pictures"
        known, labels = self.directory / "pictures.json", (config.label_column, config.multi_label)
        try:
            loaded = LoadedData(source, size, config.seed, *labels, folder, config.merge_labels, known)
        except InputError as error:
            moved = "where the data of a run was moved, name it with --data."
            raise InputError(f"{str(error).removesuffix('.')}; {moved}") from None
        manifest = None if config.merge_labels else loaded.manifest
        found = data_facts(source, self.directory, config.label_column, manifest)
        self._refuse_other(found, "the run's data")
        return loaded

    def query_embeddings(self, split: str) -> np.ndarray:
        """Returns the query embeddings float32 [N, embedding_dim] of a split, each L2-normalised; computed once."""
        return self._features.of("queries", lambda: self.context.phrase_generator, split, shared=True)

    def visual_features(self, split: str, fraction: float, progress: Progress | None = None) -> np.ndarray:
        """Returns the features float32 [N, D] of a split from the visual encoder of `fraction`; computed once."""
        name = f"visual-{fraction:g}"
        return self._features.of(name, lambda: self.visual_encoder(fraction), split, progress=progress)

    def tower_inputs(self, tower: Tower, split: str, progress: Progress | None = None) -> np.ndarray:
        """Returns the pictures of a split, or a frozen backbone's features of them, see `CachedFeatures`."""
        return self._features.tower_inputs(tower, split, progress)

    @functools.cached_property
    def _features(self) -> CachedFeatures:
        return CachedFeatures(self.directory / "features", lambda split: self.data.pictures(split))

    # === Trained parts ===

    @functools.cached_property
    def context(self) -> Context:
        """The run's context, with the run's own fork of its phrases and the run's language filter.

        Raises:
            InputError: there is no context at its path, or it is not the context that the run was made with.
        """
        if not (self._context_folder / "context.json").is_file():
            raise InputError(
                f"the context of run {str(self.directory)!r} must be at {str(self._context_folder)!r}, got none there: "
                "name its folder with --context."
            )
        fork = self.stages.folder("table")
        ConceptStore(self.directory).recover()
        found = Context(self._context_folder, fork, self.config.languages)
        if found.fingerprint != (wanted := self.stages.facts("table")["fingerprint"]):
            raise InputError(
                f"the context of run {str(self.directory)!r} must have fingerprint {wanted}, got {found.fingerprint} "
                f"at {str(self._context_folder)!r}: name the context that the run was made with, or train a new run."
            )
        return found

    def visual_encoder(self, fraction: float) -> VisualEncoder:
        """Loads the encoder that the stage `visual` trained on `fraction` of the labelled pictures.

        Raises:
            InputError: the backbone is a SavedModel that has changed since the stage.
        """
        if fraction not in self._visual_encoders:
            stage = f"visual/{fraction:g}"
            shared = self.config.visual_backbone == SHARED
            layer = new_visual_encoder(self.config, self.context.phrase_generator if shared else None)
            if self.stages.facts(stage).get("tower") not in (None, saved_model_digest(layer)):
                raise InputError(
                    f"visual_backbone must be the SavedModel that run {str(self.directory)!r} was trained with, got another "
                    f"in {str(layer.backbone)!r}: restore it, or train a new run."
                )
            self._visual_encoders[fraction] = load_weights(layer, self.stages.folder(stage) / "weights.npz")
        return self._visual_encoders[fraction]

    @property
    def choice(self) -> Choice:
        """The choice of the stage `head` on `val`."""
        return read_choice(self.stages)

    def concepts(self) -> list[Concept]:
        """Returns the concepts in the order in which they were added."""
        return ConceptStore(self.directory).read()


def create_run(
    directory: str | os.PathLike[str],
    config: Config,
    data: Source,
    context_folder: Path,
    context_image_size: int,
) -> None:
    """Creates the folder of a run, or accepts a folder in which the same settings and data have trained a part.

    Args:
        directory: folder of the run.
        config: settings of the run.
        data: source of the run's data.
        context_folder: folder where the run's context is or will be.
        context_image_size: side in pixels of the context's pictures.

    Raises:
        InputError: other settings, data or picture size have trained a part in the folder.
    """
    folder, config = Path(directory), with_found_tower(config, context_image_size)
    inside = context_folder.resolve().is_relative_to(folder.resolve())
    stored: dict[str, Any] = {
        "format": FORMAT,
        "settings": config.own_dict(),
        "data": data_facts(data, folder, config.label_column),
        "context": os.path.relpath(context_folder, folder) if inside else str(context_folder.resolve()),
        "context_image_size": context_image_size,
        "versions": installed_versions(),
        "commit": source_commit(),
    }
    exists = (folder / "config.json").is_file()
    before = read_config(folder) if exists else {}
    if not exists or not Stages(folder, "").begun:
        if config.visual_weights or Path(config.visual_backbone).is_file():
            # Raises before the folder is created if the weights cannot be loaded.
            new_visual_encoder(config, pretrained=True)
        (folder / "pictures.json").unlink(missing_ok=True)
        write_json(folder / "config.json", stored)
        return
    settings = Config.from_dict(before["settings"]).own_dict()
    changed = [k for k, v in stored["settings"].items() if settings[k] != v]
    for name, digest in (("data", "sha256"), ("labels.json", "labels_sha256")):
        now = stored["data"][digest]
        changed += [name] if before["data"].get(digest, now) != now else []
    changed += ["context_image_size"] if before["context_image_size"] != context_image_size else []
    if changed:
        raise InputError(
            f"out must be a new folder or a run made with the same settings, got {str(directory)!r} where "
            f"{', '.join(changed)} differ: choose another folder, or delete this one."
        )
    if before["data"] != stored["data"]:  # the data has moved
        write_json(folder / "config.json", {**before, "data": stored["data"]})


def read_config(folder: Path) -> dict[str, Any]:
    """Reads the `config.json` of a run.

    Raises:
        InputError: the file is damaged, or its format is another one.
    """
    try:
        stored = read_json(folder / "config.json")
        _ = stored["settings"], stored["data"]["name"], stored["data"]["folder"], stored["data"]["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"config.json of run {str(folder)!r} is damaged ({error!r}): train a new run."
        ) from None
    if (version := stored.get("format", 2)) != FORMAT:
        raise InputError(
            f"run {str(folder)!r} must have format {FORMAT}, got {version} of another version of ctxvision: train a "
            "new run."
        )
    return stored
