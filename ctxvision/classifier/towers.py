"""The visual encoder as a run's settings describe it, not trained yet."""

import dataclasses

import tensorflow as tf

from ctxvision.classifier.config import Config
from ctxvision.errors import InputError
from ctxvision.layers import PhraseGenerator, VisualEncoder
from ctxvision.layers.backbone import Backbone, absolute, check_backbone, image_size_of, pixels_of
from ctxvision.training.fine_tuning import check_train, set_trainable, train_of

# Stands for the phrase generator's ConvNet, as it is after its training on queries.
SHARED = "shared"


def new_visual_encoder(
    config: Config, phrase_generator: PhraseGenerator | None = None, pretrained: bool = False
) -> VisualEncoder:
    """The visual encoder with its variables built, before its training.

    Args:
        config: settings of the run.
        phrase_generator: trained; for the backbone `SHARED`, which stands on its ConvNet and freezes it.
        pretrained: whether the backbone has `config.visual_weights`, and not random weights that others will replace.

    Raises:
        InputError: the weights cannot be had or do not fit.
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
    """The same settings with all that is known of the backbone: files by their absolute paths, image size and pixels.

    Args:
        config: settings of the run.
        context_image_size: what `SHARED` sees.

    Raises:
        InputError: a backbone that cannot be built.
    """
    name, weights = config.visual_backbone, config.visual_weights
    check_train(config.visual_train, name, weights, "visual_train")
    if name == SHARED:
        if weights is not None:
            raise InputError(
                f"visual_weights must be left out for the backbone 'shared', which has its own, got {weights!r}: leave it out."
            )
        return dataclasses.replace(config, image_size=config.image_size or context_image_size)
    try:
        check_backbone(name, config.visual_pixels, weights)
        size, pixels = config.image_size or image_size_of(name), config.visual_pixels or pixels_of(name)
    except ValueError as error:
        raise InputError(f"visual_{error}") from None
    return dataclasses.replace(
        config,
        image_size=size,
        visual_backbone=absolute(name),
        visual_weights=absolute(weights) if weights else None,
        visual_train=train_of(config.visual_train, weights),
        visual_pixels=pixels,
    )
