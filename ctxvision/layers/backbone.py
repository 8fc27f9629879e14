"""ConvNets from pixels to one vector: by name, as a Keras model or its file, or as a SavedModel folder."""

import os
from typing import Any, TypeAlias

import tensorflow as tf
import tf_keras as keras

from ctxvision.layers._applications import (
    ApplicationPixels,
    application_network,
    find_application,
)
from ctxvision.layers._resnet_mini import resnet_mini
from ctxvision.layers.pretrained import IMAGENET, load_pretrained, plain_name
from ctxvision.layers.saved_model_tower import SavedModelTower, tower_facts

Backbone: TypeAlias = "str | os.PathLike[str] | keras.Model"
Weights: TypeAlias = "str | os.PathLike[str] | None"

RAW = "0..255"

# Pixel scales: pixels in 0..255 become (pixels - mean) / deviation.
PIXELS: dict[str, tuple[Any, Any]] = {
    RAW: (0.0, 1.0),
    "0..1": (0.0, 255.0),
    "-1..1": (127.5, 127.5),
    "imagenet": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "clip": ((122.771, 116.746, 104.094), (68.500, 66.632, 70.323)),
}


def build_backbone(
    backbone: Backbone, image_size: int | None = None, pixels: str | None = None, weights: Weights = None
) -> keras.Model:
    """Builds a model that maps float pixels in 0..255, [B, S, S, 3], to features [B, D], not L2-normalised.

    Args:
        backbone: one of:
            - `"resnet_mini"`, 0.3 M parameters, for CPUs;
            - the name of a `tf_keras.applications` model in any spelling (`"resnet101"`, `"inception_v3"`);
            - a Keras model, or its `.keras` file, whose output is [B, D] or a feature map, which is averaged;
            - the folder of a SavedModel whose `serving_default` maps float pixels [B, H, W, 3] to [B, D]. It cannot be
              trained.
        image_size: S for a backbone given by name or SavedModel folder; None means `image_size_of(backbone)`. A
            SavedModel with another fixed size resizes inside. A Keras model keeps its own size.
        pixels: the pixel scale of a Keras model or SavedModel: "0..255", "0..1", "-1..1", "imagenet" (0..1, minus the
            mean and divided by the deviation of each ImageNet channel) or "clip" (the same with CLIP's values). None
            means "0..255" for a Keras model, and the scale in the folder's `tower.json` for a SavedModel. Must be None
            or "0..255" for a backbone given by name, which scales its pixels itself.
        weights: weights of a backbone given by name: None for random ones, "imagenet" for those that Keras publishes
            (only applications; Keras downloads them once), or a file `.h5`, `.weights.h5` or `.keras` of the same
            network.

    Returns:
        A Keras model; `model.input_shape[1]` is S.

    Raises:
        ValueError: the backbone or `pixels` is unknown; a SavedModel's pixel scale is unknown; the model does not have
            one output of rank 2 or 4; or the weights cannot be found or do not fit.
    """
    check_backbone(backbone, pixels, weights)
    backbone = opened(backbone)
    if isinstance(backbone, keras.Model):
        return _scaled(_with_flat_output(backbone), pixels or RAW)
    name = os.fspath(backbone)
    size = image_size or image_size_of(name)
    given = keras.Input((size, size, 3), name="pixels")
    if os.path.isdir(name):
        tower = keras.Model(given, SavedModelTower(os.path.abspath(name))(given), name="saved_model")
        return _scaled(tower, pixels or tower_facts(name)["pixels"])
    mini = name == "resnet_mini"
    network = resnet_mini(size) if mini else application_network(name, size, weights == IMAGENET)
    if weights not in (None, IMAGENET):
        load_pretrained(network, weights)
    if mini:
        return network
    return keras.Model(given, network(ApplicationPixels(name)(given)), name=network.name)


def opened(backbone: Backbone) -> Backbone:
    """Loads a backbone that is a file, which must hold a Keras model; returns other backbones unchanged.

    Layers keep the loaded model, so their configs and copies do not need the file.

    Raises:
        ValueError: tf_keras cannot read the file.
    """
    if isinstance(backbone, keras.Model) or not os.path.isfile(backbone):
        return backbone
    return _loaded_model(os.fspath(backbone))


def backbone_config(backbone: Backbone) -> Any:
    """Returns a backbone as the config of a layer holds it: a Keras model as a dict, others unchanged."""
    return keras.layers.serialize(backbone) if isinstance(backbone, keras.Model) else backbone


def with_backbone(config: dict[str, Any]) -> dict[str, Any]:
    """Returns the config of a layer with the Keras model that `backbone_config` made a dict of."""
    backbone = config["backbone"]
    return (
        {**config, "backbone": keras.layers.deserialize(backbone)} if isinstance(backbone, dict) else config
    )


def check_backbone(backbone: Backbone, pixels: str | None = None, weights: Weights = None) -> None:
    """Raises a ValueError for arguments that `build_backbone` refuses, without building the model."""
    if pixels is not None and pixels not in PIXELS:
        raise ValueError(f"pixels must be one of {', '.join(PIXELS)}, got {pixels!r}: choose one of these.")
    given = isinstance(backbone, keras.Model) or os.path.exists(backbone)
    if given and weights is not None:
        kind = "a model" if isinstance(backbone, keras.Model) else repr(os.fspath(backbone))
        raise ValueError(
            f"weights must be None for {kind}, which has its own weights, got {str(weights)!r}: leave weights out."
        )
    if isinstance(backbone, keras.Model):
        return
    name = os.fspath(backbone)
    if os.path.isfile(os.path.join(name, "saved_model.pb")):
        _check_pixels_known(name, pixels)
        return
    if os.path.isfile(name) and name.endswith(".keras"):
        return
    if name != "resnet_mini":
        find_application(name)
    elif weights == IMAGENET:
        raise ValueError(
            "weights must be a file or None for 'resnet_mini', which has no published weights, got 'imagenet': "
            "choose a tf_keras.applications network, or give a file."
        )
    if weights not in (None, IMAGENET) and not os.path.isfile(weights):
        raise ValueError(
            f"weights must be 'imagenet' or a file .h5, .weights.h5 or .keras, got {str(weights)!r}: check the path."
        )
    if pixels not in (None, RAW):
        raise ValueError(
            f"pixels must be None for a backbone given by name, got {pixels!r} for {name!r}: leave pixels out, the "
            "backbone scales them itself."
        )


def image_size_of(backbone: Backbone) -> int:
    """Returns the side, in pixels, of the square pictures that a backbone expects.

    The side is 48 for `resnet_mini`, the authors' size for applications, the input size of a Keras model (224 if it has
    none), and the `image_size` in a SavedModel's `tower.json` (224 if there is none).
    """
    if isinstance(backbone, keras.Model):
        return backbone.input_shape[1] or 224
    name = os.fspath(backbone)
    if os.path.isdir(name):
        return tower_facts(name).get("image_size", 224)
    if os.path.isfile(name):
        return _loaded_model(name).input_shape[1] or 224
    if name == "resnet_mini":
        return 48
    if "nasnetlarge" in plain_name(name):
        return 331
    return 299 if "ception" in plain_name(name) else 224


def pixels_of(backbone: str) -> str | None:
    """Returns the pixel scale in a SavedModel's `tower.json`, None for other backbones."""
    return tower_facts(backbone).get("pixels") if os.path.isdir(backbone) else None


def absolute(name: str) -> str:
    """Makes the path of a file or folder absolute; returns other names unchanged."""
    return os.path.abspath(name) if os.path.exists(name) else name


def _check_pixels_known(folder: str, pixels: str | None) -> None:
    told = tower_facts(folder).get("pixels")
    if pixels is None and told is None:
        raise ValueError(
            f"pixels must be given for a SavedModel without tower.json, got none for {folder!r}: name its pixel "
            f"scale, one of {', '.join(PIXELS)}."
        )
    if pixels is None and told not in PIXELS:
        raise ValueError(
            f"pixels must be one of {', '.join(PIXELS)}, got {told!r} in {os.path.join(folder, 'tower.json')!r}: give "
            "pixels as an argument."
        )


def _loaded_model(path: str) -> keras.Model:
    try:
        return keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras 2 raises errors of many types for a file of Keras 3
        raise ValueError(
            f"backbone must be a .keras file that tf_keras {keras.__version__} reads, got {path!r} ({type(error).__name__}: "
            f"{str(error).splitlines()[0][:200]}): save it with tf_keras, or export it as a SavedModel."
        ) from None


def _scaled(model: keras.Model, pixels: str) -> keras.Model:
    """Puts a scaling of pixels in 0..255 in front of `model`."""
    if pixels == RAW:
        return model
    mean, deviation = PIXELS[pixels]
    given = keras.Input(model.input_shape[1:], name="pixels")
    variance = tf.nest.map_structure(lambda value: value * value, deviation)
    scaled = keras.layers.Normalization(mean=mean, variance=variance)(given)
    return keras.Model(given, model(scaled), name=model.name)


def _with_flat_output(model: keras.Model) -> keras.Model:
    shape = model.output_shape
    if isinstance(shape, tuple) and len(shape) == 2:
        return model
    if isinstance(shape, tuple) and len(shape) == 4:
        pooled = keras.layers.GlobalAveragePooling2D()(model.output)
        return keras.Model(model.input, pooled, name=model.name)
    raise ValueError(
        f"backbone must have one output of shape [B, D] or [B, H, W, D], got {shape}: cut the model at such a layer."
    )
