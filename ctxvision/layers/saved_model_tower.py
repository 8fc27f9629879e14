"""A third-party ConvNet: a SavedModel folder with facts in `tower.json`."""

import json
import os
import weakref
from typing import Any

import tensorflow as tf
import tf_keras as keras

FACTS = "tower.json"


@keras.saving.register_keras_serializable("ctxvision")
class SavedModelTower(keras.layers.Layer):
    """Applies the `serving_default` signature of the SavedModel in `directory`, frozen: float pixels to [B, D].

    If the signature has a fixed picture size, pixels of another size are resized.
    """

    def __init__(self, directory: str, **kwargs: Any):
        # Float32 under any dtype policy, because the SavedModel has its own dtypes.
        super().__init__(**{**kwargs, "trainable": False, "dtype": "float32"})
        self.directory = directory
        self._loaded = _loaded(directory)
        self._signature = self._loaded.signatures["serving_default"]
        outputs = list(self._signature.structured_outputs.values())
        inputs = self._signature.structured_input_signature[1]
        if len(inputs) != 1 or len(outputs) != 1 or outputs[0].shape.rank != 2:
            raise ValueError(
                f"backbone must be a SavedModel that maps one input to one [B, D] output, got inputs {[*inputs]} and "
                f"outputs {[tuple(o.shape) for o in outputs]} in {directory}: export only the bottleneck."
            )
        ((self._input_name, spec),) = inputs.items()
        if spec.shape.rank not in (4, None) or (spec.shape.rank and spec.shape[-1] not in (3, None)):
            raise ValueError(
                f"backbone must be a SavedModel of pixels [B, H, W, 3], got {tuple(spec.shape)} in {directory}: "
                f"export a signature that transposes."
            )
        self._size = tuple(spec.shape[1:3]) if spec.shape.rank else (None, None)
        self._dim = outputs[0].shape[-1]

    def call(self, pixels: tf.Tensor) -> tf.Tensor:
        if None not in self._size and tuple(pixels.shape[1:3]) != self._size:
            pixels = tf.image.resize(pixels, self._size, method="bilinear", antialias=True)
        (features,) = self._signature(**{self._input_name: pixels}).values()
        return tf.stop_gradient(tf.ensure_shape(features, (None, self._dim)))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "directory": self.directory}


def tower_facts(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads the `tower.json` of a SavedModel's folder: `pixels`, `image_size` and more; empty if there is no file.

    Raises:
        ValueError: the file is not a JSON object.
    """
    path = os.path.join(directory, FACTS)
    if not os.path.isfile(path):
        return {}
    try:
        with open(path, encoding="utf-8") as file:
            facts = json.load(file)
    except ValueError as error:
        raise ValueError(
            f"backbone must have a {FACTS} of JSON, got {path!r} ({error}): correct the file."
        ) from None
    if not isinstance(facts, dict):
        raise ValueError(
            f'backbone must have a {FACTS} that holds an object, got {path!r}: write {{"pixels": "0..255"}}.'
        )
    return facts


# SavedModels in use, by folder. Loading takes a second, and the weights never change.
_in_use: "weakref.WeakValueDictionary[tuple[str, int], Any]" = weakref.WeakValueDictionary()


def _loaded(directory: str) -> Any:
    # Variables belong to the strategy in whose scope they are made, so other scopes cannot share them.
    if tf.distribute.has_strategy():
        return tf.saved_model.load(directory)
    key = directory, os.stat(os.path.join(directory, "saved_model.pb")).st_mtime_ns
    loaded = _in_use.get(key)
    if loaded is None:
        _in_use[key] = loaded = tf.saved_model.load(directory)
    return loaded
