"""Chooses the weights of a tower that learn, and the steps of training (Keras guide "Transfer learning and fine-tuning")."""

from pathlib import Path
from typing import NamedTuple

import tf_keras as keras

from ctxvision.errors import InputError
from ctxvision.layers.backbone import Backbone

TRAIN = ("none", "top", "all")
# Shares of the learning rate and of the training steps for pre-trained weights. On 12,000 other photographs, a small ConvNet
# with these two had the lowest loss over few and many labelled pictures. All steps with this rate or a higher one were worse
# with many, and a tenth of the rate takes four times as long.
TOWER_RATE, TOWER_STEPS = 0.3, 0.25


class Step(NamedTuple):
    """One step of a tower's training.

    Attributes:
        name: name of the step's folder and curves; "" for a single step.
        frozen: whether the backbone's weights are fixed.
        rate: factor of the learning rate.
        share: factor of the number of training steps.
    """

    name: str
    frozen: bool
    rate: float
    share: float


def steps_of(train: str | None) -> tuple[Step, ...]:
    """Returns the training steps of a tower for its setting `visual_train` or `phrase_train`.

    Under "top" and "all" the backbone learns in a second step only: in the first step, the random layer on top would
    spoil its weights. That second step is short, because long training makes pre-trained weights forget.
    """
    if train in ("top", "all"):
        return Step("top", True, 1.0, 1.0), Step("tower", False, TOWER_RATE, TOWER_STEPS)
    return (Step("", train == "none", 1.0, 1.0),)


def set_trainable(backbone: keras.Model, train: str | None) -> None:
    """Marks the weights of a backbone that learn.

    Under "top" and "all", batch normalisation stays in inference mode: its statistics come from many more pictures
    than fine-tuning sees.

    Args:
        backbone: a model from `build_backbone`.
        train: "none": no layer; "top": the last stage, which is every layer at the last resolution; "all": every layer;
            None: every layer including batch normalisation, for a network with random weights.

    Raises:
        ValueError: `train` is "top" and the backbone has no feature maps of known size.
    """
    if train == "none":
        backbone.trainable = False
        return
    if train is None:
        return
    backbone.trainable = True
    learns = _last_stage(backbone) if train == "top" else None
    for layer in _parts(backbone):
        fixed = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = not fixed and (learns is None or any(layer is one for one in learns))


def check_train(train: str | None, backbone: Backbone, weights: object, name: str) -> None:
    """Raises if a backbone cannot follow the setting `visual_train` or `phrase_train`.

    Args:
        train: see `set_trainable`; None is always allowed.
        backbone: see `build_backbone`; or "shared".
        weights: see `build_backbone`.
        name: name of the setting, for the error's text.

    Raises:
        InputError: the value is unknown, a SavedModel or shared tower would have to learn, or random weights are given
            any value.
    """
    if train is None:
        return
    if train not in TRAIN:
        raise InputError(
            f"{name} must be one of {', '.join(TRAIN)}, got {train!r}: choose one, or leave it out."
        )
    fixed = backbone == "shared" or (isinstance(backbone, str) and Path(backbone).is_dir())
    if fixed and train != "none":
        raise InputError(
            f"{name} must be 'none' for {backbone!r}, which cannot learn, got {train!r}: leave it out, or use a .keras "
            "file."
        )
    given = fixed or not isinstance(backbone, str) or Path(backbone).is_file()
    if not given and weights is None:
        raise InputError(
            f"{name} must be left out for {backbone!r} with random weights, which all have to learn, got {train!r}: "
            f"leave it out, or give {name.replace('train', 'weights')}."
        )


def train_of(train: str | None, weights: object) -> str | None:
    """Returns the setting, or its default: "none" if weights are given, else None."""
    return train or (None if weights is None else "none")


def _last_stage(backbone: keras.Model) -> list[keras.layers.Layer]:
    """Returns the layers with weights whose output has the resolution of the last such layer."""
    maps = [layer for layer in _parts(backbone) if layer.weights and _side(layer) is not None]
    if not maps:
        raise ValueError(
            f"train must be 'none' or 'all' for {backbone.name!r}, which has no feature maps of known size, got 'top': "
            "choose one of them."
        )
    return [layer for layer in maps if _side(layer) == _side(maps[-1])]


def _side(layer: keras.layers.Layer) -> int | None:
    shape = getattr(layer, "output_shape", None)
    return shape[1] if isinstance(shape, tuple) and len(shape) == 4 else None


def _parts(backbone: keras.Model) -> list[keras.layers.Layer]:
    return [layer for layer in backbone._flatten_layers() if not isinstance(layer, keras.Model)]
