"""Which weights of a tower learn, and in which steps (Keras' guide "Transfer learning and fine-tuning")."""

from pathlib import Path
from typing import NamedTuple

import tf_keras as keras

from ctxvision.errors import InputError
from ctxvision.layers.backbone import Backbone

TRAIN = ("none", "top", "all")
# Share of the learning rate that pre-trained weights learn at.
TOWER_RATE = 0.01


class Step(NamedTuple):
    """A part of a tower's training.

    Attributes:
        name: of its folder and its curves; "" where there is one step alone.
        frozen: whether the backbone stays as it is.
        rate: share of the learning rate.
    """

    name: str
    frozen: bool
    rate: float


def steps_of(train: str | None) -> tuple[Step, ...]:
    """The training steps of a tower, by its setting `visual_train` or `phrase_train`.

    A fine-tuned backbone learns in a second step. In the first one, the random layer on top of it would spoil it.
    """
    if train in ("top", "all"):
        return Step("top", True, 1.0), Step("tower", False, TOWER_RATE)
    return (Step("", train == "none", 1.0),)


def set_trainable(backbone: keras.Model, train: str | None) -> None:
    """Marks which weights of a backbone learn.

    Args:
        backbone: made by `build_backbone`.
        train: "none"; "top": the last stage, which is every layer at the last resolution; "all"; or None: everything, for
            a network with random weights. Under "top" and "all" batch normalisation is frozen in inference mode: its
            statistics come from many more pictures than fine-tuning sees.

    Raises:
        ValueError: "top" of a backbone that makes no feature maps of known size.
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
    """Refuses a setting that a backbone cannot follow.

    Args:
        train: see `set_trainable`.
        backbone: see `build_backbone`; or "shared".
        weights: see `build_backbone`.
        name: of the setting, `visual_train` or `phrase_train`.

    Raises:
        InputError: an unknown value, a SavedModel that would have to learn, or random weights that would not.
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
            f"{name} must be 'none' for {backbone!r}, which cannot learn, got {train!r}: leave it out, or use a .keras file."
        )
    given = fixed or not isinstance(backbone, str) or Path(backbone).is_file()
    if not given and weights is None:
        raise InputError(
            f"{name} must be left out for {backbone!r} with random weights, which learn as a whole, got {train!r}: leave it "
            f"out, or give {name.replace('train', 'weights')}."
        )


def train_of(train: str | None, weights: object) -> str | None:
    """The setting, or its default: given weights are frozen."""
    return train or (None if weights is None else "none")


def _last_stage(backbone: keras.Model) -> list[keras.layers.Layer]:
    """The layers with weights at the resolution of the last feature map that a layer with weights makes."""
    maps = [layer for layer in _parts(backbone) if layer.weights and _side(layer) is not None]
    if not maps:
        raise ValueError(
            f"train must be 'none' or 'all' for {backbone.name!r}, which makes no feature maps of known size, got 'top': "
            "choose one of them."
        )
    return [layer for layer in maps if _side(layer) == _side(maps[-1])]


def _side(layer: keras.layers.Layer) -> int | None:
    shape = getattr(layer, "output_shape", None)
    return shape[1] if isinstance(shape, tuple) and len(shape) == 4 else None


def _parts(backbone: keras.Model) -> list[keras.layers.Layer]:
    return [layer for layer in backbone._flatten_layers() if not isinstance(layer, keras.Model)]
