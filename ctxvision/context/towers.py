"""Builds the untrained phrase generator of a context's settings."""

import dataclasses
import re
import shutil
from pathlib import Path
from typing import Any

import tensorflow as tf

from ctxvision.context.config import ContextConfig
from ctxvision.errors import InputError
from ctxvision.layers import PhraseGenerator
from ctxvision.layers.backbone import absolute, check_backbone, image_size_of, pixels_of
from ctxvision.training.fine_tuning import check_train, set_trainable, train_of


def new_phrase_generator(
    config: ContextConfig, tower: str | None = None, unit_features: bool = False, pretrained: bool = False
) -> PhraseGenerator:
    """Builds the untrained phrase generator with all its variables.

    Args:
        config: settings of the context.
        tower: file or folder of the backbone, instead of `config.phrase_backbone`.
        unit_features: see `PhraseGenerator`.
        pretrained: whether to load `config.phrase_weights`; False gives random weights, which the caller replaces.

    Raises:
        InputError: the weights cannot be loaded or do not fit.
    """
    try:
        layer = PhraseGenerator(
            tower or config.phrase_backbone,
            config.embedding_dim,
            config.image_size,
            config.phrase_pixels,
            unit_features,
            config.phrase_weights if pretrained else None,
            name="phrase_generator",
        )
        set_trainable(layer.tower, config.phrase_train)
    except ValueError as error:
        raise InputError(f"phrase_{error}") from None
    layer(tf.zeros([1, config.image_size, config.image_size, 3]))
    return layer


def with_found_tower(config: ContextConfig, argument: str = "phrase_backbone") -> ContextConfig:
    """Returns the settings with everything known of the backbone, see `found_tower`."""
    return dataclasses.replace(config, **found_tower(config, "phrase", argument))


def found_tower(config: Any, tower: str, argument: str) -> dict[str, Any]:
    """Finds everything known of a tower's backbone: absolute paths, image size and pixel range.

    Args:
        config: a `ContextConfig`, or the settings of a run.
        tower: "phrase" or "visual", with which the names of the tower's settings begin.
        argument: name of the backbone in errors.

    Returns:
        The settings to replace.

    Raises:
        InputError: the backbone cannot be built.
    """
    parts = ("backbone", "weights", "pixels", "train")
    name, weights, pixels, train = (getattr(config, f"{tower}_{part}") for part in parts)
    check_train(train, name, weights, f"{tower}_train")
    try:
        check_backbone(name, pixels, weights)
        found = {
            "image_size": config.image_size or image_size_of(name),
            f"{tower}_pixels": pixels or pixels_of(name),
        }
    except ValueError as error:
        sentence = re.sub("^backbone", argument, re.sub("^(pixels|weights)", rf"{tower}_\1", str(error)))
        raise InputError(sentence) from None
    return found | {
        f"{tower}_backbone": absolute(name),
        f"{tower}_weights": absolute(weights) if weights else None,
        f"{tower}_train": train_of(train, weights),
    }


def tower_name(config: ContextConfig) -> str:
    """Returns the name, inside the context, of a backbone from a file or folder; "" for a backbone given by name."""
    source = Path(config.phrase_backbone)
    return "tower" if source.is_dir() else "tower.keras" if source.is_file() else ""


def copy_tower(config: ContextConfig, folder: Path) -> None:
    """Copies a backbone from a file or folder into `folder`, so that the context is complete."""
    source = Path(config.phrase_backbone)
    if source.is_dir():
        shutil.copytree(source, folder / tower_name(config))
    elif source.is_file():
        shutil.copyfile(source, folder / tower_name(config))
