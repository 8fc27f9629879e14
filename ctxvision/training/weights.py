"""Layers' weights on disk, and layers run over many pictures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from ctxvision.errors import InputError


def embed(layer: Callable[..., tf.Tensor], pictures: np.ndarray, batch_size: int = 256) -> np.ndarray:
    """float32 [N, D]: `layer` in inference mode over uint8 pictures [N, S, S, 3], or whatever else it takes."""
    if not len(pictures):  # its width is known from another picture
        return embed(layer, np.zeros((1, *pictures.shape[1:]), pictures.dtype))[:0]
    starts = range(0, len(pictures), batch_size)
    parts = [layer(tf.constant(pictures[i : i + batch_size]), training=False) for i in starts]
    return np.concatenate(parts)


def save_weights(layer: keras.layers.Layer, path: Path) -> None:
    """Writes a layer's weights in their order, without pickle."""
    np.savez(path, *layer.get_weights())


def take_part_in_saving(layer: keras.layers.Layer) -> None:
    """What the other workers do while the first calls `save_weights`: batch normalisation's means are averaged."""
    layer.get_weights()


def load_weights(layer: Any, path: Path) -> Any:
    """Sets a built layer's weights from `save_weights`, and returns the layer."""
    with np.load(path, allow_pickle=False) as stored:
        values = [stored[f"arr_{i}"] for i in range(len(stored.files))]
    shapes = [tuple(w.shape) for w in layer.weights]
    if [v.shape for v in values] != shapes:
        raise InputError(
            f"weights in {str(path)!r} are of another architecture than {layer.name}: train a new run."
        )
    layer.set_weights(values)
    return layer
