"""Saves and loads the weights of layers, and runs layers over many pictures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from ctxvision.errors import InputError


def embed(
    layer: Callable[..., tf.Tensor],
    pictures: np.ndarray,
    batch_size: int = 256,
    after_batch: Callable[[int], None] = lambda done: None,
) -> np.ndarray:
    """Runs `layer` in inference mode over uint8 pictures [N, S, S, 3] or other inputs; returns float32 [N, D].

    `after_batch` is called after each batch with the number of pictures so far.
    """
    if not len(pictures):  # one blank picture tells the width
        return embed(layer, np.zeros((1, *pictures.shape[1:]), pictures.dtype))[:0]
    parts = []
    for start in range(0, len(pictures), batch_size):
        batch = pictures[start : start + batch_size]
        parts.append(layer(tf.constant(batch), training=False))
        after_batch(start + len(batch))
    return np.concatenate(parts)


def save_weights(layer: keras.layers.Layer, path: Path) -> None:
    """Writes a layer's weights in their order to a .npz file, without pickle."""
    np.savez(path, *layer.get_weights())


def take_part_in_saving(layer: keras.layers.Layer) -> None:
    """Reads the weights on the other workers while the first worker runs `save_weights`.

    Reading averages the moving statistics of batch normalisation, which needs all workers.
    """
    layer.get_weights()


def load_weights(layer: Any, path: Path) -> Any:
    """Sets a built layer's weights from the file of `save_weights`, and returns the layer.

    Raises:
        InputError: the file holds weights of other shapes.
    """
    with np.load(path, allow_pickle=False) as stored:
        values = [stored[f"arr_{i}"] for i in range(len(stored.files))]
    shapes = [tuple(w.shape) for w in layer.weights]
    if [v.shape for v in values] != shapes:
        raise InputError(
            f"weights in {str(path)!r} must have the shapes of {layer.name}, got another architecture: train a new run."
        )
    layer.set_weights(values)
    return layer
