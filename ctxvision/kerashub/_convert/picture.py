"""The picture tower of a preset."""

import re
from collections.abc import Callable
from typing import Any

from .preset import has_two_towers, no_image_model
from .refusal import RefusedError, no_space, reason
from .tower import Tower

# The mean and the deviation, in 0..255, with which a backbone's pixels are normalised.
PIXELS: dict[str, tuple[Any, Any]] = {
    "0..255": (0.0, 1.0),
    "0..1": (0.0, 255.0),
    "-1..1": (127.5, 127.5),
    "imagenet": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "clip": ((122.771, 116.746, 104.094), (68.500, 66.632, 70.323)),
}
IMAGE_SIZE = 224  # for a preset that names no size


def picture_tower(backbone: Any, preset: str, pixels: str | None, keras_hub: Any) -> Tower:
    """Returns the tower from pixels in 0..255 to a joint space, or to the pooled output of an image backbone."""
    import numpy as np
    import tensorflow as tf

    converter = _image_converter(preset, keras_hub)
    size = _image_size(backbone, preset, converter)
    scale = _pixel_scale(preset, pixels, converter)
    if has_two_towers(type(backbone)):
        embed, pooling = backbone.get_vision_embeddings, "joint space"
    else:
        embed, pooling = _pooled(backbone, preset, size)

    def call(pixels: Any) -> dict[str, Any]:
        return {"features": tf.cast(embed(scale(pixels)), tf.float32)}

    given = tf.TensorSpec([None, size, size, 3], tf.float32, "pixels")
    contrast = np.array([255, 80]).reshape(2, 1, 1, 1)
    samples = (np.random.default_rng(0).random((2, size, size, 3)) * contrast).astype(np.float32)
    facts = {"kind": "picture", "pixels": "0..255", "image_size": size, "pooling": pooling}
    return Tower(call, given, tf.constant(samples), None, facts)


def _image_converter(preset: str, keras_hub: Any) -> Any:
    """Returns the preset's image converter, or None."""
    try:
        return keras_hub.layers.ImageConverter.from_preset(preset)
    except FileNotFoundError:
        return None
    except Exception as error:
        if "Unable to find a subclass" in str(error):
            return None
        if no_space(error):
            raise
        raise RefusedError(
            f"preset must have an image converter that KerasHub can load, got {preset!r} ({reason(error)}): save it "
            f"there with save_to_preset, or delete it there and give --pixels."
        ) from error


def _image_size(backbone: Any, preset: str, converter: Any) -> int:
    inputs = backbone.input if isinstance(backbone.input, dict) else {"images": backbone.input}
    shapes = [tuple(one.shape[1:]) for one in inputs.values() if len(one.shape) == 4]
    if len(shapes) != 1 or shapes[0][2] != 3 or len(inputs) > 1 + has_two_towers(type(backbone)):
        raise no_image_model(preset, type(backbone))
    wanted = (converter.image_size if converter else None) or (IMAGE_SIZE, IMAGE_SIZE)
    height, width = (fixed or free for fixed, free in zip(shapes[0], wanted))
    if height != width:
        raise RefusedError(
            f"preset must be of square pictures, got {preset!r} of {height} x {width} pixels: name another preset."
        )
    return int(height)


def _pixel_scale(preset: str, pixels: str | None, converter: Any) -> Callable[[Any], Any]:
    """Returns the function from pixels in 0..255 to the backbone's pixels."""
    if pixels is not None:
        mean, deviation = PIXELS[pixels]
        return lambda given: (given - mean) / deviation
    if converter is None:
        raise RefusedError(
            f"preset must have an image converter, which says what its pixels are, got none in {preset!r}: add "
            f"--pixels {'|'.join(PIXELS)}."
        )
    converter.image_size = None  # pictures already have the tower's size
    return converter


def _pooled(backbone: Any, preset: str, size: int) -> tuple[Callable[[Any], Any], str]:
    """Returns a function from scaled pixels to [B, D], and the name of its pooling."""
    import tensorflow as tf

    output, level = backbone.output, None
    if isinstance(output, dict) and all(re.fullmatch(r"P\d+|stage\d+|stem", name) for name in output):
        level = max(output, key=lambda name: [int(number) for number in re.findall(r"\d+", name)])
        output = output[level]
    rank = len(getattr(output, "shape", ()))
    if rank not in (2, 3, 4):
        raise no_image_model(preset, type(backbone))
    name = next(iter(backbone.input)) if isinstance(backbone.input, dict) else None

    def features(pixels: Any) -> Any:
        outputs = backbone(pixels if name is None else {name: pixels}, training=False)
        return outputs if level is None else outputs[level]

    if rank == 2:
        return features, "none"
    if rank == 3 and output.shape[1] > _patches(backbone, size):
        return lambda pixels: features(pixels)[:, 0], "class token"
    pooling = "mean of tokens" if rank == 3 else "mean of feature map"
    axes = list(range(1, rank - 1))
    return lambda pixels: tf.reduce_mean(features(pixels), axes), f"{pooling} {level or ''}".strip()


def _patches(backbone: Any, size: int) -> float:
    """Returns the number of tokens that stand for patches; class tokens and similar ones come before them."""
    patch = getattr(backbone, "patch_size", None)
    height, width = patch if isinstance(patch, list | tuple) else (patch, patch)
    return (size // height) * (size // width) if height and width else float("inf")
