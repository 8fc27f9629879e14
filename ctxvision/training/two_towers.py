"""A two-tower model in the stead of a query log: its text tower makes the phrases, its picture tower finds them.

Pictures and texts of such a model lie in two separate cones of one space, so that each kind is seen from its own mean:
of phrases when their table is built, of pictures when a run's `train` split is there. Without that, what pictures have
in common would decide which phrases are near to all of them.
"""

import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ctxvision._files import atomic_directory, write_json
from ctxvision.errors import InputError
from ctxvision.prototypes import PhraseTable
from ctxvision.prototypes.phrase_table_writer import PhraseTableWriter
from ctxvision.training.text_tower import (
    BATCH,
    SAMPLE,
    BuiltPhrases,
    Projection,
    TextTower,
    fit_projection,
    phrases_of,
)
from ctxvision.training.towers import new_phrase_generator
from ctxvision.training.weights import save_weights

if TYPE_CHECKING:
    from ctxvision.training.run import Run


def build_phrases(
    phrases: str | os.PathLike[str],
    text_tower: str | os.PathLike[str],
    out: str | os.PathLike[str],
    dim: int = 64,
    text_dim: int = 200,
) -> PhraseTable:
    """Builds the phrase table of a two-tower model (CLIP, SigLIP and their kin) from a list of phrases alone.

    A phrase's prototype is its text embedding, seen from the mean of all phrases and along the `dim` directions in
    which they differ most (PCA of up to 50,000 of them), L2-normalised; its text embedding the same in `text_dim`
    directions. Phrases go through the tower batch by batch, so that there may be millions. Settings of a run then
    name `out` as `phrase_table`, and the model's picture tower as `phrase_backbone`.

    Args:
        phrases: a UTF-8 file of a phrase a line, or of phrase, tab and language code.
        text_tower: a SavedModel whose `serving_default` maps string [B] to float [B, D].
        out: folder, new or of an earlier build: `table/`, the projections, and which tower made them.
        dim: of the prototypes; D where that is less.
        text_dim: of the text embeddings; D where that is less.

    Returns:
        The table, opened from `out/table`.

    Raises:
        InputError: fewer than 2 phrases, one twice, or a tower of another signature; `out` stays as it was.

    Example:
        >>> cv.build_phrases("phrases.txt", "clip/text", "phrases", dim=64)
        >>> config = cv.Config(phrase_table="phrases", phrase_backbone="clip/picture", phrase_pixels="clip")
    """
    for name, value in (("dim", dim), ("text_dim", text_dim)):
        if value < 1:
            raise InputError(f"{name} must be at least 1, got {value}: leave it out for the default.")
    tower, total = TextTower(text_tower), sum(1 for _ in phrases_of(phrases))
    if total < 2:
        raise InputError(f"phrases must be at least 2, got {total} in {str(phrases)!r}: write one a line.")
    sampled = itertools.islice(phrases_of(phrases), 0, None, -(-total // SAMPLE))
    sample = tower([phrase for phrase, _ in sampled])
    prototypes, texts = fit_projection(sample, dim), fit_projection(sample, text_dim)
    with atomic_directory(out) as folder:
        with PhraseTableWriter(folder / "table", prototypes.kernel.shape[1]) as writer:
            for rows in _batches(phrases_of(phrases)):
                names, languages = [row[0] for row in rows], [row[1] for row in rows]
                vectors = tower(names)
                writer.append(names, prototypes(vectors), languages=languages, text_embeddings=texts(vectors))
        _save(folder, prototypes, texts)
        write_json(folder / "towers.json", {"text_tower": tower.directory, "phrases": total})
    return PhraseTable.load(Path(out) / "table")


def place_generator(run: "Run") -> None:
    """Stage `phrases` of a run with a built table: the picture tower, projected as the phrases were."""
    built = BuiltPhrases(run.config.phrase_table)
    generator, (_, kernel) = new_phrase_generator(run.config), built.prototypes
    if generator.tower.output_shape[-1] != kernel.shape[0]:
        raise InputError(
            f"phrase_backbone must map pictures to the {kernel.shape[0]} dimensions of the text tower, got "
            f"{generator.tower.output_shape[-1]}: name the picture tower of the same model."
        )
    features = run.tower_inputs(generator, "train")
    if features.ndim == 4:
        raise InputError(
            f"phrase_backbone must be a SavedModel beside a phrase_table, got {run.config.phrase_backbone!r}: export "
            f"the picture tower as one."
        )
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    generator.bottleneck.kernel.assign(kernel)
    generator.whiten.moving_mean.assign(unit.mean(axis=0) @ kernel)
    generator.whiten.moving_variance.assign(np.full(kernel.shape[1], 1.0 - generator.whiten.epsilon))
    with run.finishing("phrases", classes=0, pictures=len(features)) as folder:
        save_weights(generator, folder / "weights.npz")


def take_table(run: "Run") -> None:
    """Stage `prototypes` of a run with a built table: its own copy, which changes with it."""
    built = BuiltPhrases(run.config.phrase_table)
    with run.finishing("prototypes") as folder:
        shutil.copytree(built.directory / "table", folder / "table")


def _batches(rows: Iterator[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    while batch := list(itertools.islice(rows, BATCH)):
        yield batch


def _save(folder: Path, prototypes: Projection, texts: Projection) -> None:
    np.savez(
        folder / "projections.npz",
        prototype_mean=prototypes.mean,
        prototype_kernel=prototypes.kernel,
        text_mean=texts.mean,
        text_kernel=texts.kernel,
    )
