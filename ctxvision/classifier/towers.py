"""Builds the untrained visual encoder of a run's settings."""

import dataclasses
import hashlib
from pathlib import Path

import tensorflow as tf

from ctxvision._files import saved_model_content
from ctxvision.classifier.config import Config
from ctxvision.context.towers import found_tower
from ctxvision.errors import InputError
from ctxvision.layers import PhraseGenerator, VisualEncoder
from ctxvision.layers.backbone import Backbone
from ctxvision.training.fine_tuning import check_train, set_trainable

# Name of the phrase generator's ConvNet, after its training on queries, as a visual backbone.
SHARED = "shared"


def new_visual_encoder(
    config: Config, phrase_generator: PhraseGenerator | None = None, pretrained: bool = False
) -> VisualEncoder:
    """Builds the untrained visual encoder with all its variables.

    Args:
        config: settings of the run.
        phrase_generator: a trained phrase generator, whose ConvNet the backbone `SHARED` uses and freezes.
        pretrained: whether to load `config.visual_weights`; False gives random weights, which the caller replaces.

    Raises:
        InputError: the weights cannot be loaded or do not fit.
    """
    backbone: Backbone = config.visual_backbone
    if backbone == SHARED:
        assert phrase_generator is not None
        backbone = phrase_generator.tower
        backbone.trainable = False
    weights = config.visual_weights if pretrained else None
    try:
        layer = VisualEncoder(
            backbone,
            config.image_size,
            config.visual_dim or None,
            config.visual_pixels,
            weights,
            name="visual_encoder",
        )
        set_trainable(layer.tower, config.visual_train)
    except ValueError as error:
        raise InputError(f"visual_{error}") from None
    layer(tf.zeros([1, config.image_size, config.image_size, 3]))
    return layer


def with_found_tower(config: Config, context_image_size: int) -> Config:
    """Returns the settings with everything known of the backbone: absolute paths, image size and pixel range.

    Args:
        config: settings of the run.
        context_image_size: side in pixels of the context's pictures, which `SHARED` takes by default.

    Raises:
        InputError: the backbone cannot be built.
    """
    weights = config.visual_weights
    if config.visual_backbone != SHARED:
        return dataclasses.replace(config, **found_tower(config, "visual", "visual_backbone"))
    check_train(config.visual_train, SHARED, weights, "visual_train")
    if weights is not None:
        raise InputError(
            f"visual_weights must be left out for the backbone 'shared', which has its own, got {weights!r}: leave "
            "the setting out."
        )
    return dataclasses.replace(config, image_size=config.image_size or context_image_size)


def saved_model_digest(encoder: VisualEncoder) -> str | None:
    """Returns the digest of the SavedModel that is an encoder's backbone, whose weights no run keeps; else None."""
    if not isinstance(encoder.backbone, str) or not Path(encoder.backbone).is_dir():
        return None
    return hashlib.sha256(saved_model_content(encoder.backbone)).hexdigest()
