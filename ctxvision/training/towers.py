"""The two ConvNets of a run as its settings describe them, not trained yet."""

import dataclasses
import os
from typing import Any, TypeAlias

import tensorflow as tf

from ctxvision.errors import InputError
from ctxvision.layers import PhraseGenerator, VisualEncoder
from ctxvision.layers.backbone import Backbone, check_backbone
from ctxvision.training.config import Config
from ctxvision.training.text_tower import BuiltPhrases

# Stands for the phrase generator's ConvNet, as it is after its training on queries.
SHARED = "shared"

Tower: TypeAlias = PhraseGenerator | VisualEncoder


def new_phrase_generator(config: Config) -> PhraseGenerator:
    """The phrase generator, its variables built; those of a backbone given by name are random."""
    layer = PhraseGenerator(
        config.phrase_backbone,
        config.embedding_dim,
        config.image_size,
        config.phrase_pixels,
        unit_features=bool(config.phrase_table),
        name="phrase_generator",
    )
    layer(tf.zeros([1, config.image_size, config.image_size, 3]))
    return layer


def new_visual_encoder(config: Config, phrase_generator: PhraseGenerator | None = None) -> VisualEncoder:
    """The visual encoder, its variables built; those of a backbone given by name are random.

    Of the backbone `SHARED` it stands on the trained `phrase_generator`'s ConvNet, which then is frozen.
    """
    backbone: Backbone = config.visual_backbone
    if backbone == SHARED:
        assert phrase_generator is not None
        backbone = phrase_generator.tower
        backbone.trainable = False
    layer = VisualEncoder(
        backbone,
        config.image_size,
        config.visual_dim or None,
        config.visual_pixels,
        name="visual_encoder",
    )
    layer(tf.zeros([1, config.image_size, config.image_size, 3]))
    return layer


def is_frozen(tower: Tower) -> bool:
    """Whether the tower's backbone does not learn, so that its features can be computed once."""
    return not tower.tower.trainable_weights


def with_found_towers(config: Config) -> Config:
    """The same settings with absolute paths of what are files or folders, and the widths of a built phrase table.

    Raises:
        InputError: a backbone that cannot be built, or no phrase table where one is named.
    """
    found: dict[str, Any] = {}
    if config.phrase_table:
        built = BuiltPhrases(config.phrase_table)
        found["phrase_table"] = os.path.abspath(config.phrase_table)
        found["embedding_dim"] = built.prototypes.kernel.shape[1]
        found["text_dim"] = built.texts.kernel.shape[1]
        found["phrase_support"] = 0.0  # no pictures are behind such prototypes
    for kind in ("phrase", "visual"):
        name, pixels = getattr(config, f"{kind}_backbone"), getattr(config, f"{kind}_pixels")
        if (kind, name) == ("visual", SHARED):
            continue
        try:
            check_backbone(name, pixels)
        except ValueError as error:
            raise InputError(f"{kind}_{error}") from None
        found[f"{kind}_backbone"] = os.path.abspath(name) if os.path.exists(name) else name
    return dataclasses.replace(config, **found)
