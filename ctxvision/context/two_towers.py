"""Builds a context from a two-tower model: its text tower makes the prototypes, its picture tower embeds pictures.

Pictures and texts of such a model lie in two separate cones of one space. Each kind is therefore centred on its own
mean: phrases on the mean of all phrases, pictures on the mean of sample pictures. Without centring, the part that all
pictures share would decide which phrases are near to them.
"""

import dataclasses
import itertools
import os
import shutil
from collections.abc import Iterator

import numpy as np

from ctxvision.context.config import ContextConfig
from ctxvision.context.context import TWO_TOWERS, Context
from ctxvision.context.finish import finish_context
from ctxvision.context.folder import create_context
from ctxvision.context.generator import features_of_web
from ctxvision.context.text_tower import (
    BATCH,
    SAMPLE,
    ListedPhrase,
    Projection,
    TextTower,
    fit_projection,
    phrases_of,
)
from ctxvision.context.towers import copy_tower, new_phrase_generator, tower_name, with_found_tower
from ctxvision.data.source import Source
from ctxvision.errors import InputError
from ctxvision.kerashub import towers_of
from ctxvision.training.loaded_data import LoadedData
from ctxvision.training.progress import Progress
from ctxvision.training.weights import save_weights
from ctxvision.vocabulary.phrase_table_writer import PhraseTableWriter


def build_context(
    phrases: str | os.PathLike[str],
    text_tower: str | os.PathLike[str] | None,
    picture_tower: str | os.PathLike[str] | None,
    out: str | os.PathLike[str],
    pictures: Source | None = None,
    config: ContextConfig | None = None,
    licence: str = "",
    progress: Progress | None = None,
    preset: str | None = None,
) -> Context:
    """Builds a context from a two-tower model (CLIP, SigLIP and others) and a list of phrases, without training.

    The prototype of a phrase is its text vector, centred on the mean of all phrases, projected on the `embedding_dim`
    directions of largest variance (PCA of up to 50,000 phrases) and L2-normalised. Its text embedding is the same with
    `text_dim` directions. The text tower runs in batches, so there may be millions of phrases. Both towers are copied
    into the context.

    Args:
        phrases: a UTF-8 file with one phrase per line, optionally followed by a tab and its language code, and by
            another tab and how often people use it (`tools/phrases_from.py` writes such files).
        text_tower: a SavedModel whose `serving_default` maps string [B] to float [B, D].
        picture_tower: a SavedModel whose `serving_default` maps pixels [B, H, W, 3] to float [B, D]. `tower.json` in
            its folder, or `phrase_pixels`, tells its pixel range.
        out: folder of the context, new or left by the same call.
        pictures: data whose `train` pictures, else `web` pictures, give the mean for centring; required.
        config: `image_size`, `phrase_pixels`, `embedding_dim`, `text_dim` and `languages` are used; widths above D
            become D.
        licence: licence of the towers and the phrases, for the card.
        progress: prints progress, to standard error by default.
        preset: a CLIP or SigLIP preset of KerasHub, or its folder, instead of the two towers; needs the extra
            `convert`.

    Returns:
        The context.

    Raises:
        InputError: there are fewer than 2 phrases or one twice, no pictures are given, the towers have other
            signatures, neither towers nor a preset is given, or the preset cannot be converted.

    Example:
        >>> context = cv.build_context(
        ...     "phrases.txt", "clip/text", "clip/picture", out="contexts/clip", pictures="photos"
        ... )
    """
    progress = progress or Progress()
    config = config or ContextConfig()
    if pictures is None:
        raise InputError(
            "pictures must name data for the mean on which pictures are centred, got none: give a folder of pictures "
            "like those that the context will describe."
        )
    text_tower, picture_tower = _two_towers(text_tower, picture_tower, preset)
    tower, total = TextTower(text_tower), sum(1 for _ in phrases_of(phrases))
    if total < 2:
        raise InputError(
            f"phrases must be at least 2, got {total} in {str(phrases)!r}: write one phrase per line."
        )
    sampled = itertools.islice(phrases_of(phrases), 0, None, -(-total // SAMPLE))
    sample = tower([listed.phrase for listed in sampled])
    prototypes, texts = fit_projection(sample, config.embedding_dim), fit_projection(sample, config.text_dim)
    config = with_found_tower(
        dataclasses.replace(
            config,
            phrase_backbone=os.fspath(picture_tower),
            embedding_dim=prototypes.kernel.shape[1],
            text_dim=texts.kernel.shape[1],
        ),
        argument="picture_tower",
    )
    data = LoadedData(pictures, config.image_size, config.seed)
    made_from = {"phrases": total, "text_tower": tower.directory, "picture_tower": config.phrase_backbone}
    _check_towers(config, prototypes)
    context = create_context(out, config, pictures, TWO_TOWERS, licence, made_from)
    context.stages.run("generator", progress, lambda: _place_generator(context, data, prototypes, progress))
    context.stages.run("table", progress, lambda: _write_table(context, phrases, tower, prototypes, texts))
    context.stages.run("text", progress, lambda: _keep_text_tower(context, tower, texts))
    finish_context(context, data, progress)
    return context


def _two_towers(
    text: str | os.PathLike[str] | None, picture: str | os.PathLike[str] | None, preset: str | None
) -> tuple[str | os.PathLike[str], str | os.PathLike[str]]:
    """Returns the folders of the text tower and the picture tower."""
    if preset is not None and text is None and picture is None:
        folder = towers_of(preset)
        if not (folder / "text").is_dir():
            raise InputError(
                f"preset must be a two-tower model such as CLIP or SigLIP, got {preset!r}, which has only a picture "
                "tower: use it as phrase_backbone or visual_backbone."
            )
        return folder / "text", folder / "picture"
    if preset is not None or text is None or picture is None:
        given = {"text_tower": text, "picture_tower": picture, "preset": preset}
        named = ", ".join(name for name, value in given.items() if value is not None)
        raise InputError(
            "text_tower and picture_tower must both be given, or preset alone, got "
            f"{named or 'neither'}: give both towers, or the preset."
        )
    return text, picture


def _check_towers(config: ContextConfig, prototypes: Projection) -> None:
    generator = new_phrase_generator(config, unit_features=True)
    if generator.tower.trainable_weights:
        raise InputError(
            f"picture_tower must be a SavedModel, got {config.phrase_backbone!r}: export the picture tower as one."
        )
    if generator.tower.output_shape[-1] != prototypes.kernel.shape[0]:
        raise InputError(
            f"picture_tower must map pictures to the {prototypes.kernel.shape[0]} dimensions of the text tower, got "
            f"{generator.tower.output_shape[-1]}: name the picture tower of the same model."
        )


def _place_generator(context: Context, data: LoadedData, prototypes: Projection, progress: Progress) -> None:
    """Saves the picture tower with the projection of the phrases as its bottleneck, centred on the pictures' mean."""
    generator = new_phrase_generator(context.config, unit_features=True)
    split = next((name for name in ("train", "web") if name in data.manifest.splits), data.manifest.splits[0])
    features = features_of_web(context, data).tower_inputs(generator, split, progress)
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    kernel = prototypes.kernel
    generator.bottleneck.kernel.assign(kernel)
    generator.whiten.moving_mean.assign(unit.mean(axis=0) @ kernel)
    generator.whiten.moving_variance.assign(np.full(kernel.shape[1], 1.0 - generator.whiten.epsilon))
    facts = {"classes": 0, "pictures": len(features), "tower": tower_name(context.config)}
    with context.stages.finishing("generator", **facts) as folder:
        save_weights(generator, folder / "weights.npz")
        copy_tower(context.config, folder)


def _write_table(
    context: Context,
    phrases: str | os.PathLike[str],
    tower: TextTower,
    prototypes: Projection,
    texts: Projection,
) -> None:
    dim = prototypes.kernel.shape[1]
    with context.stages.finishing("table") as folder, PhraseTableWriter(folder, dim) as writer:
        for rows in _batches(phrases_of(phrases)):
            names, languages, counts = map(list, zip(*rows))
            vectors = tower(names)
            writer.append(names, prototypes(vectors), counts, languages, texts(vectors))


def _keep_text_tower(context: Context, tower: TextTower, texts: Projection) -> None:
    """Copies the text tower, which embeds words instead of a `DualEncoderText`."""
    with context.stages.finishing("text") as folder:
        shutil.copytree(tower.directory, folder / "tower")
        np.savez(folder / "projection.npz", mean=texts.mean, kernel=texts.kernel)


def _batches(rows: Iterator[ListedPhrase]) -> Iterator[list[ListedPhrase]]:
    while batch := list(itertools.islice(rows, BATCH)):
        yield batch
