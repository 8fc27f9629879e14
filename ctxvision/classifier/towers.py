"""The visual encoder as a run's settings describe it, not trained yet."""

import dataclasses
import os

import tensorflow as tf

from ctxvision.classifier.config import Config
from ctxvision.errors import InputError
from ctxvision.layers import PhraseGenerator, VisualEncoder
from ctxvision.layers.backbone import Backbone, check_backbone

# Stands for the phrase generator's ConvNet, as it is after its training on queries.
SHARED = "shared"


def new_visual_encoder(config: Config, phrase_generator: PhraseGenerator | None = None) -> VisualEncoder:
    """The visual encoder with its variables built; those of a backbone given by name are random.

    Args:
        config: settings of the run.
        phrase_generator: trained; for the backbone `SHARED`, which stands on its ConvNet and freezes it.
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


def with_found_tower(config: Config) -> Config:
    """The same settings, a backbone that is a file or folder by its absolute path.

    Raises:
        InputError: a backbone that cannot be built.
    """
    name = config.visual_backbone
    if name == SHARED:
        return config
    try:
        check_backbone(name, config.visual_pixels)
    except ValueError as error:
        raise InputError(f"visual_{error}") from None
    return dataclasses.replace(
        config, visual_backbone=os.path.abspath(name) if os.path.exists(name) else name
    )
