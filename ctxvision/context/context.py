"""A context on disk, and its parts as Python objects."""

import functools
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ctxvision._files import read_json
from ctxvision.context.config import ContextConfig
from ctxvision.context.found_phrases import FoundPhrase, described, search
from ctxvision.context.text_tower import TextProjection
from ctxvision.context.towers import new_phrase_generator
from ctxvision.errors import InputError
from ctxvision.layers import DualEncoderText, PhraseEmbeddings, PhraseGenerator, PrototypeRetrieval
from ctxvision.layers.retrieval.vocabulary import retrievable_ids
from ctxvision.training.given_pictures import Images, given_pictures
from ctxvision.training.stages import Stages
from ctxvision.training.weights import embed, load_weights
from ctxvision.vocabulary import PhraseTable
from ctxvision.vocabulary.generations import read_facts

FORMAT = 1
QUERIES, TWO_TOWERS = "queries", "two-towers"
# Chunks of texts that are embedded at a time.
_TEXTS = 4096


class Context:
    """What predicts and understands phrases: generator, phrase table, text encoder.

    Args:
        directory: made by `train_context` or `build_context`.
        table: folder of another phrase table to use, such as a run's own; by default the context's.
        languages: the language filter; by default the context's.

    Attributes:
        directory: as given.
        config: the settings it was made with.
        kind: "queries", learnt from pictures and the queries that led to them, or "two-towers".
        languages: the language filter.
        stages: of the folder.

    Raises:
        InputError: the folder holds no context, or one of a newer format.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        table: Path | None = None,
        languages: Sequence[str] | None = None,
    ):
        self.directory = Path(directory)
        stored = read_context(self.directory)
        self.config = ContextConfig.from_dict(stored["settings"])
        self.kind: str = stored["kind"]
        self.languages = tuple(languages or self.config.languages)
        self.stages = Stages(self.directory, "make the context again with the same command")
        self._table = table

    # === Parts ===

    @functools.cached_property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits of the generator's and the text encoder's weights; another context has others."""
        digest = hashlib.sha256(self.kind.encode())
        text = "projection.npz" if self.kind == TWO_TOWERS else "weights.npz"
        for path in (self.stages.folder("generator") / "weights.npz", self.stages.folder("text") / text):
            digest.update(path.read_bytes())
        return digest.hexdigest()[:16]

    @functools.cached_property
    def phrase_generator(self) -> PhraseGenerator:
        """Pixels to query embeddings float32 [B, embedding_dim], L2-normalised."""
        folder, tower = self.stages.folder("generator"), self.stages.facts("generator")["tower"]
        if tower and not (folder / tower).exists():
            raise InputError(
                f"context {str(self.directory)!r} must hold its tower, got no generator/{tower}: copy the whole folder "
                f"again, or make the context anew."
            )
        place = str(folder / tower) if tower else None
        layer = new_phrase_generator(self.config, place, unit_features=self.kind == TWO_TOWERS)
        return load_weights(layer, folder / "weights.npz")

    @property
    def classes(self) -> list[str]:
        """The queries that were softmax classes of the generator; empty for a context from two towers."""
        path = self.stages.folder("generator") / "classes.json"
        return read_json(path) if path.is_file() else []

    @functools.cached_property
    def phrase_table(self) -> PhraseTable:
        """The vocabulary with prototypes and text embeddings; changes to it are written to disk."""
        self.stages.folder("text")
        return PhraseTable.load(self.table_folder)

    @property
    def table_folder(self) -> Path:
        """Where the phrase table lies."""
        return self._table or self.stages.folder("table")

    @functools.cached_property
    def text_encoder(self) -> DualEncoderText | None:
        """Words to text embeddings float32 [..., text_dim]; None where a text tower does that, see `embed_texts`."""
        folder = self.stages.folder("text")
        if self.kind == TWO_TOWERS:
            return None
        layer = DualEncoderText(
            self.config.text_dim, **read_json(folder / "encoder.json"), name="dual_encoder_text"
        )
        return load_weights(layer, folder / "weights.npz")

    @functools.cached_property
    def phrase_embeddings(self) -> PhraseEmbeddings:
        """Row numbers of the phrase table to text embeddings float32 [..., text_dim]."""
        layer = PhraseEmbeddings(self.config.text_dim, name="phrase_embeddings", trainable=False)
        layer.assign(np.asarray(self.phrase_table.text_embeddings))
        return layer

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """float32 [N, text_dim] of any words, L2-normalised; zeros for unknown words."""
        if self.text_encoder is None:
            return TextProjection(self.stages.folder("text"))(texts)
        parts = [self.text_encoder(tf.constant(texts[i : i + _TEXTS])) for i in range(0, len(texts), _TEXTS)]
        return np.concatenate(parts)

    # === What it is for ===

    def describe(self, images: Images, k: int = 5) -> list[list[FoundPhrase]]:
        """The k phrases nearest to each picture, nearest first; no taxonomy is needed.

        Args:
            images: a folder of pictures, paths, or uint8 [N, H, W, 3].
            k: how many, from 1 to the phrases that may be found.

        Returns:
            A list for each picture. Scores are cosines, less for phrases of few pictures (`phrase_support`).

        Raises:
            InputError: no pictures, one that cannot be read, or k out of its range.

        Example:
            >>> cv.Context("contexts/web").describe("picture.jpg")[0][0].phrase
        """
        most = self.num_retrievable()
        if not 1 <= k <= most:
            raise InputError(
                f"k must be from 1 to the {most} phrases that may be found, got {k}: 5 is usual."
            )
        pictures = given_pictures(images, self.config.image_size)
        ids, scores = search(self.retrieval(k), embed(self.phrase_generator, pictures))
        return [
            described(self.phrase_table, row[row >= 0], score[row >= 0])
            for row, score in zip(ids, scores, strict=True)
        ]

    # === Retrieval ===

    def retrieval(
        self, k: int, backend: str = "exact", table: PhraseTable | None = None, **settings: Any
    ) -> PrototypeRetrieval:
        """The k nearest phrases that pass the language filter and the minimum count.

        Args:
            k: how many.
            backend: see `PrototypeRetrieval`.
            table: another phrase table than the context's.
            **settings: of `PrototypeRetrieval.index`.
        """
        layer = PrototypeRetrieval(k=k, backend=backend, name="prototype_retrieval")
        return layer.index(table or self.phrase_table, **self.retrievable, **settings)

    @property
    def retrievable(self) -> dict[str, Any]:
        """Which phrases may be found and how they are ranked, as arguments of `PrototypeRetrieval.index`."""
        return {
            "languages": self.languages,
            "min_count": self.config.min_phrase_count,
            "support": self.support,
        }

    @property
    def support(self) -> float:
        """`phrase_support`; 0 where no pictures are behind the prototypes."""
        return 0.0 if self.kind == TWO_TOWERS else self.config.phrase_support

    def retrievable_ids(self, table: PhraseTable | None = None) -> np.ndarray:
        """int32: rows of the phrases that pass the language filter and the minimum count."""
        return retrievable_ids(table or self.phrase_table, self.languages, self.config.min_phrase_count)

    def num_retrievable(self, table: PhraseTable | None = None) -> int:
        """How many phrases pass the language filter and the minimum count."""
        return len(self.retrievable_ids(table))

    @property
    def vocabulary_generation(self) -> int:
        """The number of the phrase table's generation: another one after each change."""
        return int(read_facts(self.table_folder)["generation"])


def read_context(directory: Path) -> dict[str, Any]:
    """The `context.json` of a folder.

    Raises:
        InputError: there is none, it is damaged, or of a newer format.
    """
    path = directory / "context.json"
    if not path.is_file():
        raise InputError(
            f"context must be a folder made by ctxvision context train or build, got {str(directory)!r}: make one first."
        )
    try:
        stored = read_json(path)
        _ = stored["settings"], stored["kind"], stored["data"]
        version = int(stored["format"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{str(path)!r} is damaged ({error!r}): make the context anew.") from None
    if version > FORMAT:
        raise InputError(
            f"context {str(directory)!r} must have format {FORMAT} or less, got {version}: use a newer ctxvision."
        )
    return stored
