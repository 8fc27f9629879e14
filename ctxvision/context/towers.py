"""The phrase generator as a context's settings describe it, not trained yet."""

import dataclasses
import os
import shutil
from pathlib import Path

import tensorflow as tf

from ctxvision.context.config import ContextConfig
from ctxvision.errors import InputError
from ctxvision.layers import PhraseGenerator
from ctxvision.layers.backbone import check_backbone


def new_phrase_generator(
    config: ContextConfig, tower: str | None = None, unit_features: bool = False
) -> PhraseGenerator:
    """The phrase generator with its variables built; those of a backbone given by name are random.

    Args:
        config: settings of the context.
        tower: file or folder of the backbone, instead of `config.phrase_backbone`.
        unit_features: see `PhraseGenerator`.
    """
    layer = PhraseGenerator(
        tower or config.phrase_backbone,
        config.embedding_dim,
        config.image_size,
        config.phrase_pixels,
        unit_features,
        name="phrase_generator",
    )
    layer(tf.zeros([1, config.image_size, config.image_size, 3]))
    return layer


def with_found_tower(config: ContextConfig, argument: str = "phrase_backbone") -> ContextConfig:
    """The same settings, a backbone that is a file or folder by its absolute path.

    Raises:
        InputError: a backbone that cannot be built.
    """
    name = config.phrase_backbone
    try:
        check_backbone(name, config.phrase_pixels)
    except ValueError as error:
        raise InputError(str(error).replace("backbone", argument, 1)) from None
    return dataclasses.replace(
        config, phrase_backbone=os.path.abspath(name) if os.path.exists(name) else name
    )


def tower_name(config: ContextConfig) -> str:
    """The name in the context of a backbone that is a file or folder; "" for one given by name."""
    source = Path(config.phrase_backbone)
    return "tower" if source.is_dir() else "tower.keras" if source.is_file() else ""


def copy_tower(config: ContextConfig, folder: Path) -> None:
    """Copies a backbone that is a file or folder into `folder`, so that the context is whole."""
    source = Path(config.phrase_backbone)
    if source.is_dir():
        shutil.copytree(source, folder / tower_name(config))
    elif source.is_file():
        shutil.copyfile(source, folder / tower_name(config))
