"""Opens a context on disk and gives its parts as Python objects."""

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
from ctxvision.vocabulary import Ngrams, PhraseTable
from ctxvision.vocabulary.generations import read_facts

FORMAT = 1
QUERIES, TWO_TOWERS = "queries", "two-towers"
# Texts are embedded in batches of this size.
_TEXTS = 4096


class Context:
    """Predicts and embeds phrases: phrase generator, phrase table and text encoder of a folder.

    Args:
        directory: folder made by `train_context` or `build_context`.
        table: folder of another phrase table to use, such as a run's own; the context's table by default.
        languages: the language filter; the context's filter by default.

    Attributes:
        directory: the folder.
        config: the settings of the context.
        kind: "queries" (learnt from pictures and the queries that led to them) or "two-towers".
        languages: the language filter.
        stages: the finished stages of the folder.

    Raises:
        InputError: the folder holds no context, a damaged one, or one of a newer format.

    Example:
        >>> context = cv.Context("contexts/web")
        >>> context.embed_texts(["red square"]).shape
        (1, 200)
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
        """Sixteen hexadecimal digits, a digest of the weights of the generator and the text encoder."""
        digest = hashlib.sha256(self.kind.encode())
        text = "projection.npz" if self.kind == TWO_TOWERS else "weights.npz"
        for path in (self.stages.folder("generator") / "weights.npz", self.stages.folder("text") / text):
            digest.update(path.read_bytes())
        return digest.hexdigest()[:16]

    @functools.cached_property
    def phrase_generator(self) -> PhraseGenerator:
        """Layer from pixels to query embeddings float32 [B, embedding_dim], L2-normalised."""
        folder, tower = self.stages.folder("generator"), self.stages.facts("generator")["tower"]
        if tower and not (folder / tower).exists():
            raise InputError(
                f"context {str(self.directory)!r} must hold its tower, got no generator/{tower}: copy the whole folder "
                f"again, or make the context again."
            )
        place = str(folder / tower) if tower else None
        layer = new_phrase_generator(self.config, place, unit_features=self.kind == TWO_TOWERS)
        return load_weights(layer, folder / "weights.npz")

    @property
    def classes(self) -> list[str]:
        """The queries that are softmax classes of the generator; empty for a context from two towers."""
        path = self.stages.folder("generator") / "classes.json"
        return read_json(path) if path.is_file() else []

    @functools.cached_property
    def phrase_table(self) -> PhraseTable:
        """The vocabulary with prototypes and n-grams or text embeddings; its changes are written to disk."""
        self.stages.folder("text")
        return PhraseTable.load(self.table_folder)

    @property
    def table_folder(self) -> Path:
        """The folder of the phrase table."""
        return self._table or self.stages.folder("table")

    @functools.cached_property
    def text_encoder(self) -> DualEncoderText | None:
        """Layer from words to text embeddings float32 [..., text_dim]; None for two towers, see `embed_texts`."""
        folder = self.stages.folder("text")
        if self.kind == TWO_TOWERS:
            return None
        layer = DualEncoderText(
            self.config.text_dim, **read_json(folder / "encoder.json"), name="dual_encoder_text"
        )
        return load_weights(layer, folder / "weights.npz")

    @functools.cached_property
    def phrase_embeddings(self) -> PhraseEmbeddings:
        """Layer from row numbers of the phrase table to text embeddings float32 [..., text_dim]."""
        return self.embeddings_of(self.phrase_table)

    def embeddings_of(self, table: PhraseTable) -> PhraseEmbeddings:
        """Returns a frozen layer from row numbers of a table to text embeddings float32 [..., text_dim].

        Raises:
            InputError: the table has no n-grams, or n-grams with another hash than the text encoder's; or, for two
                towers, no text embeddings of the context's width.
        """
        layer = PhraseEmbeddings(
            self.config.text_dim, encoder=self.text_encoder, name="phrase_embeddings", trainable=False
        )
        try:
            layer.assign(text_of(table))
        except ValueError as error:
            raise InputError(
                f"phrase table of context {str(self.directory)!r} does not fit: {error}"
            ) from None
        return layer

    def text_embeddings(self, rows: np.ndarray) -> np.ndarray:
        """Returns the text embeddings float32 [N, text_dim] of rows of the phrase table, L2-normalised."""
        starts = range(0, max(1, len(rows)), _TEXTS)
        return np.concatenate([self.phrase_embeddings(rows[i : i + _TEXTS]) for i in starts])

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Returns the text embeddings float32 [N, text_dim] of any words, L2-normalised; zeros for unknown words."""
        if self.text_encoder is None:
            return TextProjection(self.stages.folder("text"))(texts)
        parts = [self.text_encoder(tf.constant(texts[i : i + _TEXTS])) for i in range(0, len(texts), _TEXTS)]
        return np.concatenate(parts)

    # === Phrases of pictures ===

    def describe(self, images: Images, k: int = 5) -> list[list[FoundPhrase]]:
        """Finds the k phrases nearest to each picture, nearest first, without a taxonomy.

        Args:
            images: a folder of pictures, paths, or uint8 [N, H, W, 3].
            k: number of phrases, from 1 to the number of retrievable phrases.

        Returns:
            One list per picture. Scores are cosines, lowered for phrases with few pictures (`phrase_support`).

        Raises:
            InputError: there are no pictures, a picture cannot be read, or `k` is out of range.

        Example:
            >>> found = cv.Context("contexts/web").describe("picture.jpg", k=2)
            >>> [phrase.phrase for phrase in found[0]]
            ['red square', 'ripe tomato']
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
        """Returns an indexed layer that finds the k nearest retrievable phrases.

        Args:
            k: number of phrases.
            backend: see `PrototypeRetrieval`.
            table: the phrase table; the context's by default.
            **settings: arguments of `PrototypeRetrieval.index`.
        """
        layer = PrototypeRetrieval(k=k, backend=backend, name="prototype_retrieval")
        return layer.index(table or self.phrase_table, **self.retrievable, **settings)

    @property
    def retrievable(self) -> dict[str, Any]:
        """The filter and ranking of retrievable phrases, as arguments of `PrototypeRetrieval.index`."""
        return {
            "languages": self.languages,
            "min_count": self.config.min_phrase_count,
            "support": self.support,
        }

    @property
    def support(self) -> float:
        """The setting `phrase_support`; 0 for a context from two towers, whose prototypes have no pictures."""
        return 0.0 if self.kind == TWO_TOWERS else self.config.phrase_support

    def retrievable_ids(self, table: PhraseTable | None = None) -> np.ndarray:
        """Returns the rows, int32, of the phrases that pass the language filter and the minimum count."""
        return retrievable_ids(table or self.phrase_table, self.languages, self.config.min_phrase_count)

    def num_retrievable(self, table: PhraseTable | None = None) -> int:
        """Returns the number of phrases that pass the language filter and the minimum count."""
        return len(self.retrievable_ids(table))

    @property
    def vocabulary_generation(self) -> int:
        """The number of the phrase table's generation, which grows with each change."""
        return int(read_facts(self.table_folder)["generation"])


def text_of(table: PhraseTable) -> Ngrams | np.ndarray | None:
    """Returns the n-grams or text embeddings of a table."""
    return table.text_embeddings if table.ngrams is None else table.ngrams


def read_context(directory: Path) -> dict[str, Any]:
    """Reads the `context.json` of a folder.

    Raises:
        InputError: the file is missing, damaged, or of a newer format.
    """
    path = directory / "context.json"
    if not path.is_file():
        raise InputError(
            f"context must be a folder made by ctxvision context train or build, got {str(directory)!r}: make one "
            "first."
        )
    try:
        stored = read_json(path)
        _ = stored["settings"], stored["kind"], stored["data"]
        version = int(stored["format"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{str(path)!r} is damaged ({error!r}): make the context again.") from None
    if version > FORMAT:
        raise InputError(
            f"context {str(directory)!r} must have format {FORMAT} or less, got {version}: use a newer ctxvision."
        )
    return stored
