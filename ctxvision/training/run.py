"""A run on disk, and its parts as Python objects."""

import functools
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ctxvision._files import atomic_directory, read_json, write_json
from ctxvision.data.source import Source, is_folder
from ctxvision.errors import InputError
from ctxvision.layers import (
    DualEncoderText,
    PhraseGenerator,
    PrototypeRetrieval,
    VisualEncoder,
)
from ctxvision.layers.retrieval.vocabulary import retrievable_ids
from ctxvision.models import ContextClassifier
from ctxvision.prototypes import PhraseTable
from ctxvision.prototypes.generations import read_facts
from ctxvision.training.cached_features import CachedFeatures
from ctxvision.training.concept_store import Concept, ConceptStore
from ctxvision.training.config import Config
from ctxvision.training.data_facts import data_facts, located, read_config
from ctxvision.training.given_pictures import Images
from ctxvision.training.run_data import RunData
from ctxvision.training.text_tower import BuiltPhrases
from ctxvision.training.towers import (
    SHARED,
    Tower,
    new_phrase_generator,
    new_visual_encoder,
    with_found_towers,
)
from ctxvision.training.versions import installed_versions, source_commit
from ctxvision.training.weights import load_weights


class Run:
    """The folder of a run: settings, stages, features, metrics.

    Args:
        directory: made by `train`.

    Raises:
        InputError: the folder holds no run.
    """

    def __init__(self, directory: str | os.PathLike[str]):
        self.directory = Path(directory)
        if not (self.directory / "config.json").is_file():
            raise InputError(
                f"run must be a folder made by training, got {str(directory)!r}: run ctxvision train first."
            )
        stored = read_config(self.directory)
        self.config = Config.from_dict(stored["settings"])
        self._visual_encoders: dict[float, VisualEncoder] = {}
        self.data_name: str = stored["data"]["name"]
        self.data_source = located(stored["data"]["folder"], self.directory)

    @classmethod
    def create(cls, directory: str | os.PathLike[str], config: Config, data: Source) -> "Run":
        """Makes the folder, or opens the one that the same settings and data made before."""
        folder = Path(directory)
        config = with_found_towers(config)
        stored: dict[str, Any] = {
            "settings": config.to_dict(),
            "data": data_facts(data, folder, config.label_column),
            "versions": installed_versions(),
            "commit": source_commit(),
        }
        if (folder / "config.json").is_file():
            before = read_config(folder)
            settings = Config.from_dict(before["settings"]).to_dict()  # older runs lack newer settings
            changed = [k for k, v in stored["settings"].items() if settings[k] != v]
            if before["data"]["sha256"] != stored["data"]["sha256"]:
                changed.append("data")
            if changed:
                raise InputError(
                    f"out must be a new folder or a run made with the same settings, got {str(directory)!r} where "
                    f"{', '.join(changed)} differ: choose another folder, or delete this one."
                )
        else:
            RunData(data, config)  # refuses bad data before anything is written
            write_json(folder / "config.json", stored)
        return cls(folder)

    # === Data and features ===

    @property
    def data_folder(self) -> Path:
        """The folder of a run whose data has an `images.csv`."""
        if not isinstance(self.data_source, str) or not is_folder([self.data_source]):
            raise InputError(f"data must be a folder with an images.csv for this, got {self.data_source!r}.")
        return Path(self.data_source)

    @functools.cached_property
    def data(self) -> RunData:
        """The run's pictures, labels and queries."""
        return RunData(self.data_source, self.config, self.directory / "pictures")

    def query_embeddings(self, split: str) -> np.ndarray:
        """float32 [N, 64] of a split, each row L2-normalised; computed once."""
        return self._features.of("phrases", lambda: self.phrase_generator, split)

    def visual_features(self, split: str, fraction: float) -> np.ndarray:
        """float32 [N, D] of a split by the visual encoder of `fraction`; computed once."""
        return self._features.of(f"visual-{fraction:g}", lambda: self.visual_encoder(fraction), split)

    def tower_inputs(self, tower: Tower, split: str) -> np.ndarray:
        """The pictures of a split, or what a frozen backbone makes of them, see `CachedFeatures`."""
        return self._features.tower_inputs(tower, split)

    @functools.cached_property
    def _features(self) -> CachedFeatures:
        return CachedFeatures(self.directory / "features", lambda split: self.data.pictures(split))

    # === Trained parts ===

    @functools.cached_property
    def phrase_generator(self) -> PhraseGenerator:
        """As trained by the stage `phrases`."""
        layer = new_phrase_generator(self.config)
        return load_weights(layer, self.stage_folder("phrases") / "weights.npz")

    def visual_encoder(self, fraction: float) -> VisualEncoder:
        """As trained by the stage `visual` on `fraction` of the labelled pictures."""
        if fraction not in self._visual_encoders:
            self._visual_encoders[fraction] = self._load_visual_encoder(fraction)
        return self._visual_encoders[fraction]

    def _load_visual_encoder(self, fraction: float) -> VisualEncoder:
        shared = self.config.visual_backbone == SHARED
        layer = new_visual_encoder(self.config, self.phrase_generator if shared else None)
        return load_weights(layer, self.stage_folder(f"visual/{fraction:g}") / "weights.npz")

    @functools.cached_property
    def phrase_table(self) -> PhraseTable:
        """The vocabulary with prototypes and text embeddings; what changes in it changes on disk."""
        self.stage_folder("text")
        ConceptStore(self.directory).recover()
        return PhraseTable.load(self.stage_folder("prototypes") / "table")

    @functools.cached_property
    def text_encoder(self) -> DualEncoderText:
        """As trained by the stage `text`, with the table's text embeddings folded in."""
        layer = self.load_text_encoder()
        layer.fold(np.asarray(self.phrase_table.text_embeddings))
        return layer

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """float32 [N, text_dim] of any words, L2-normalised; zeros for those of which nothing is known."""
        if self.config.phrase_table:
            return BuiltPhrases(self.config.phrase_table).embed_texts(texts)
        parts = [self.text_encoder(tf.constant(texts[i : i + 4096])) for i in range(0, len(texts), 4096)]
        return np.concatenate(parts)

    def load_text_encoder(self) -> DualEncoderText:
        """Another copy of the text encoder, with nothing folded in."""
        folder = self.stage_folder("text")
        settings = folder / "encoder.json"
        arguments = read_json(settings) if settings.is_file() else {}  # older runs have the first defaults
        layer = DualEncoderText(self.config.text_dim, **arguments, name="dual_encoder_text")
        return load_weights(layer, folder / "weights.npz")

    def retrieval(
        self, k: int, backend: str = "exact", table: PhraseTable | None = None, **settings: Any
    ) -> PrototypeRetrieval:
        """The k nearest phrases that pass the language filter and the minimum count."""
        layer = PrototypeRetrieval(k=k, backend=backend, name="prototype_retrieval")
        support = self.config.phrase_support
        return layer.index(table or self.phrase_table, **self.retrievable, support=support, **settings)

    @property
    def retrievable(self) -> dict[str, Any]:
        """Which phrases may be found: languages and minimum count, as arguments."""
        return {"languages": self.config.languages, "min_count": self.config.min_phrase_count}

    @property
    def phrases_needed(self) -> int:
        """How many phrases the classifier retrieves for a picture."""
        return read_json(self.stage_folder("classifier") / "choice.json")["k"]

    @property
    def balance(self) -> str:
        """The loss's balance that the classifier chose, see `train_head`."""
        return read_json(self.stage_folder("classifier") / "choice.json").get("balance", "none")

    def retrievable_ids(self, table: PhraseTable | None = None) -> np.ndarray:
        """int32: rows of the phrases that pass the language filter and the minimum count."""
        return retrievable_ids(table or self.phrase_table, **self.retrievable)

    def num_retrievable(self, table: PhraseTable | None = None) -> int:
        """How many phrases pass the language filter and the minimum count."""
        return len(self.retrievable_ids(table))

    @property
    def vocabulary_generation(self) -> int:
        """The number of the phrase table's generation: another one after each change."""
        return int(read_facts(self.stage_folder("prototypes") / "table")["generation"])

    def build_classifier(self, backend: str = "ivf", quantize: str | None = None) -> ContextClassifier:
        """The end-to-end model, see `training.assembly.assemble`; in a strategy's scope all of it is made anew."""
        from ctxvision.training.assembly import assemble

        # Variables are of the scope that they are made in, and this run's towers may be of another.
        return assemble(Run(self.directory) if tf.distribute.has_strategy() else self, backend, quantize)

    @functools.cached_property
    def classifier(self) -> ContextClassifier:
        """The end-to-end model: pixels to probabilities and phrases. Its head is trainable, its towers frozen."""
        return self.build_classifier()

    # === Concepts ===

    def add_concept(self, name: str, images: Images, label: str | None = None) -> Concept:
        """Teaches the classifier a label from 1 to 50 pictures; see `training.concepts.add_concept`."""
        from ctxvision.training import concepts

        return concepts.add_concept(self, name, images, label)

    def remove_concept(self, name: str) -> None:
        """Takes a concept away, as if it had never been added; see `training.concepts.remove_concept`."""
        from ctxvision.training import concepts

        concepts.remove_concept(self, name)

    def concepts(self) -> list[Concept]:
        """The concepts in the order in which they were added."""
        return ConceptStore(self.directory).read()

    # === Stages ===

    def stage_folder(self, stage: str) -> Path:
        """Where a stage's result lies; refuses when the stage has not been run."""
        folder = self.directory / stage
        if not (folder / "done.json").is_file():
            raise InputError(
                f"run {str(self.directory)!r} has no finished stage {stage!r}: run the same ctxvision train command again."
            )
        return folder

    def is_done(self, stage: str) -> bool:
        """Whether the stage's result is there."""
        return (self.directory / stage / "done.json").is_file()

    def unfinished_folder(self, stage: str) -> Path:
        """Where a stage keeps its checkpoints while it runs."""
        return self.directory / "unfinished" / stage.replace("/", "-")

    def curves(self) -> dict[str, dict[str, list[float]]]:
        """Stage to training curves, for every finished stage that has some."""
        stages = sorted(path.parent for path in self.directory.glob("**/done.json"))
        facts = {str(stage.relative_to(self.directory)): read_json(stage / "done.json") for stage in stages}
        return {stage: fact["curves"] for stage, fact in facts.items() if "curves" in fact}

    @contextmanager
    def finishing(self, stage: str, **facts: Any) -> Iterator[Path]:
        """Yields a folder for the stage's result; at the end it takes its place and the checkpoints go."""
        with atomic_directory(self.directory / stage) as folder:
            yield folder
            write_json(folder / "done.json", facts)
        shutil.rmtree(self.unfinished_folder(stage), ignore_errors=True)
        with suppress(OSError):  # another stage's checkpoints may be there
            self.unfinished_folder(stage).parent.rmdir()
