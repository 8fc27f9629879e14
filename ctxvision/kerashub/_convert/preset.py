"""Loads the backbone of a preset, and the licence of its card."""

import difflib
import inspect
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from .refusal import RefusedError, no_space, reason


def import_keras_hub(preset: str) -> Any:
    """Imports KerasHub on Keras 3 and TensorFlow on the CPU, so that the check compares both on the same device."""
    os.environ.pop("TF_USE_LEGACY_KERAS", None)
    os.environ.update(KERAS_BACKEND="tensorflow", CUDA_VISIBLE_DEVICES="-1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        import keras
        import keras_hub
    except ImportError as error:
        raise RefusedError(
            f"converting {preset!r} needs keras-hub, got {reason(error)!r}: run pip install 'ctxvision[convert]' "
            f"with Python 3.11 or newer."
        ) from error
    keras.config.set_floatx("float32")
    keras.config.set_image_data_format("channels_last")
    return keras_hub


def load_backbone(preset: str, keras_hub: Any) -> Any:
    """Loads the backbone of a preset; refuses a preset that is no image model before its weights are downloaded."""
    from keras_hub.src.utils.preset_utils import get_preset_loader

    known = keras_hub.models.Backbone.presets
    local = preset not in known and os.path.isdir(preset)
    if preset not in known and not local and "://" not in preset:
        near = ", ".join(difflib.get_close_matches(preset, known, cutoff=0.5)) or "clip_vit_base_patch16"
        raise RefusedError(
            f"preset must be the name of a KerasHub preset, a handle or a preset folder, got {preset!r}: try {near}."
        )
    try:
        backbone_class = get_preset_loader(preset).check_backbone_class()
        if has_two_towers(backbone_class) or reads_images(backbone_class):
            return keras_hub.models.Backbone.from_preset(preset)
    except Exception as error:
        if no_space(error):
            raise
        rule, remedy = (
            "one that can be downloaded",
            "check its spelling and the network, or give a preset folder",
        )
        if local:
            rule, remedy = "a folder that KerasHub can load", "save it again with save_to_preset"
        raise RefusedError(f"preset must be {rule}, got {preset!r} ({reason(error)}): {remedy}.") from error
    raise no_image_model(preset, backbone_class)


def has_two_towers(backbone_class: Any) -> bool:
    """Returns whether the model embeds pictures and texts in one space; VideoPrism has frames and embeds videos."""
    both = hasattr(backbone_class, "get_vision_embeddings") and hasattr(backbone_class, "get_text_embeddings")
    return both and "num_frames" not in inspect.signature(backbone_class.__init__).parameters


def reads_images(backbone_class: Any) -> bool:
    parameters = set(inspect.signature(backbone_class.__init__).parameters)
    return "num_frames" not in parameters and bool(
        parameters & {"image_shape", "input_shape", "image_encoder"}
    )


def no_image_model(preset: str, backbone_class: Any) -> RefusedError:
    return RefusedError(
        f"preset must be an image backbone or a two-tower model of pictures and texts, got {preset!r} of class "
        f"{backbone_class.__name__}: name one such as efficientnet_b0_ra_imagenet or clip_vit_base_patch16."
    )


def license_of(preset: str) -> str:
    """Returns the licence in the preset's metadata or at the head of its card; "" if neither names one."""
    from keras_hub.src.utils.preset_utils import get_file

    patterns = {
        "metadata.json": r'"license"\s*:\s*"([^"]+)"',
        "README.md": r"\A---\n(?:.*\n)*?license:\s*(\S+)",
    }
    for file, pattern in patterns.items():
        with suppress(Exception):  # hubs raise errors of many types for a missing file
            named = re.search(pattern, Path(get_file(preset, file)).read_text(encoding="utf-8"))
            if named:
                return named[1]
    return ""
