"""Epochs of about equal length, whatever the number of pictures."""

import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from ctxvision.data import training_batches

SHORTEST_EPOCH = 50  # steps: shorter passes would spend their time on starting the input pipeline


def epochs_of(num_pictures: int, batch_size: int, steps: int) -> tuple[int, int]:
    """How many epochs, of how many steps each, make at least `steps`."""
    per_epoch = min(_copies(num_pictures, batch_size) * num_pictures // batch_size, steps)
    return math.ceil(steps / per_epoch), per_epoch


def tiled_batches(
    pictures: np.ndarray,
    arrays: tuple[np.ndarray, ...],
    batch_size: int,
    seed: int,
    rows: np.ndarray | None = None,
) -> Callable[[int], tf.data.Dataset]:
    """Epoch number to batches; a small set of pictures is passed several times in one epoch.

    Features [N, D] in the pictures' stead are only shuffled. `rows` of the pictures are used, by default all; `arrays`
    have as many. No picture is copied for that: the array may be a file that is mapped.
    """
    rows = np.arange(len(pictures)) if rows is None else rows
    copies = _copies(len(rows), batch_size)
    tiled = np.tile(rows, copies)
    arrays = tuple(np.concatenate([array] * copies) for array in arrays)
    augment = pictures.ndim == 4
    return lambda epoch: training_batches(pictures, arrays, batch_size, seed, epoch, augment, rows=tiled)


def _copies(num_pictures: int, batch_size: int) -> int:
    return math.ceil(SHORTEST_EPOCH * batch_size / num_pictures)
