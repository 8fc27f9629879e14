"""The text tower of a two-tower model, and the projection that makes its phrases and pictures comparable."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_text  # noqa: F401  (the ops of tokenizers in towers)

from ctxvision._files import open_text
from ctxvision.errors import InputError

BATCH = 1024
# Number of phrases from which a projection is learnt.
SAMPLE = 50_000
_MOST = 2**63 - 1  # counts are int64


class Projection(NamedTuple):
    """Centres unit vectors and projects them on some directions."""

    mean: np.ndarray  # float32 [D]
    kernel: np.ndarray  # float32 [D, d], orthonormal columns

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        """Returns the projections float32 [N, d], L2-normalised, of unit vectors [N, D]."""
        return _unit((vectors - self.mean) @ self.kernel)


def fit_projection(vectors: np.ndarray, dim: int) -> Projection:
    """Fits the mean of unit vectors [N, D] and the `dim` directions of their largest variance (PCA).

    If D is `dim` or less, the projection keeps all D directions unchanged.
    """
    mean = vectors.mean(axis=0, dtype=np.float64)
    if vectors.shape[1] <= dim:
        return Projection(mean.astype(np.float32), np.eye(vectors.shape[1], dtype=np.float32))
    centred = vectors - mean
    _, directions = np.linalg.eigh(centred.T @ centred)  # in ascending order of variance
    kernel = directions[:, ::-1][:, :dim]
    largest = np.abs(kernel).argmax(axis=0)
    kernel = kernel * np.sign(kernel[largest, np.arange(kernel.shape[1])])  # equal signs on every machine
    return Projection(mean.astype(np.float32), np.ascontiguousarray(kernel, np.float32))


class TextTower:
    """Runs the `serving_default` signature of a SavedModel from texts, string [B], to vectors float [B, D].

    Args:
        directory: folder of the SavedModel.

    Raises:
        InputError: the folder holds no SavedModel, or the signature has other inputs or outputs.
    """

    def __init__(self, directory: str | os.PathLike[str]):
        self.directory = os.path.abspath(directory)
        if not os.path.isfile(os.path.join(self.directory, "saved_model.pb")):
            raise InputError(
                f"text_tower must be the folder of a SavedModel, got {str(directory)!r}: export the text tower there."
            )
        self._loaded = tf.saved_model.load(self.directory)
        self._signature = self._loaded.signatures.get("serving_default")
        inputs = self._signature.structured_input_signature[1] if self._signature else {}
        outputs = list(self._signature.structured_outputs.values()) if self._signature else []
        good = len(inputs) == 1 and len(outputs) == 1 and outputs[0].shape.rank == 2
        if not good or next(iter(inputs.values())).dtype != tf.string:
            raise InputError(
                f"text_tower must have a signature serving_default from one string [B] to one float [B, D], got inputs "
                f"{[*inputs.values()]} and outputs {outputs} in {str(directory)!r}: export it with its tokenizer."
            )
        self._input_name = next(iter(inputs))

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Returns the vectors float32 [N, D] of texts, L2-normalised.

        Raises:
            InputError: a text gets zeros or values that are not finite.
        """
        parts = []
        for start in range(0, len(texts), BATCH):
            given = {self._input_name: tf.constant(texts[start : start + BATCH])}
            (vectors,) = self._signature(**given).values()
            parts.append(np.asarray(vectors, np.float32))
        vectors = np.concatenate(parts)
        wrong = np.flatnonzero(~(np.isfinite(vectors).all(axis=1) & vectors.any(axis=1)))
        if len(wrong):
            raise InputError(
                f"text_tower must give every phrase a direction, got zeros or no numbers for {texts[wrong[0]]!r}: "
                "leave that phrase out."
            )
        return _unit(vectors)


class TextProjection:
    """Embeds texts in a context from two towers: its text tower, followed by its projection.

    Args:
        folder: folder of the context's stage `text`, with `tower/` and `projection.npz`.

    Raises:
        InputError: the folder has no `tower/`.
    """

    def __init__(self, folder: Path):
        if not (folder / "tower").is_dir():
            raise InputError(
                f"context {str(folder.parent)!r} must hold its tower, got no text/tower: copy the whole folder again, "
                "or build the context again."
            )
        self._tower = TextTower(folder / "tower")
        with np.load(folder / "projection.npz", allow_pickle=False) as stored:
            self._projection = Projection(stored["mean"], stored["kernel"])

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Returns the text embeddings float32 [N, text_dim] of any words, L2-normalised."""
        return self._projection(self._tower(texts))


class ListedPhrase(NamedTuple):
    """A line of a list of phrases."""

    phrase: str
    language: str
    count: int  # type: ignore[assignment]  # tuple.count is not missed


def phrases_of(file: str | os.PathLike[str]) -> Iterator[ListedPhrase]:
    """Reads a list of phrases with one `phrase`, `phrase<TAB>language` or `phrase<TAB>language<TAB>count` per line.

    The language is English and the count 1 by default. Empty lines are skipped.

    Raises:
        InputError: the file is missing or not UTF-8, or a count is not a whole number of 1 or more.
    """
    if not os.path.isfile(file):
        raise InputError(f"phrases must be a text file, got {str(file)!r}: write one phrase per line.")
    with open_text(file) as lines:
        for number, line in enumerate(lines, 1):
            phrase, _, rest = line.strip().partition("\t")
            if phrase:
                language, _, count = rest.partition("\t")
                yield ListedPhrase(
                    phrase.strip(), language.strip() or "en", _count(count.strip() or "1", number, file)
                )


def _count(text: str, line: int, file: str | os.PathLike[str]) -> int:
    if text.isascii() and text.isdigit() and len(text) <= len(str(_MOST)) and 1 <= int(text) <= _MOST:
        return int(text)
    raise InputError(
        f"the count of a phrase must be a whole number from 1 to {_MOST}, got {text!r} in line {line} of "
        f"{str(file)!r}: correct the count, or leave the column out."
    )


def _unit(vectors: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.maximum(norms, 1e-12)).astype(np.float32)
