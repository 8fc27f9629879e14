"""Divides training into epochs of about equal length for any number of pictures."""

import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from ctxvision.data import training_batches

SHORTEST_EPOCH = 50  # steps; in shorter epochs, starting the input pipeline would take most of the time


def epochs_of(num_pictures: int, batch_size: int, steps: int) -> tuple[int, int]:
    """Returns the number of epochs and the steps of each epoch, which together make at least `steps` steps."""
    per_epoch = min(_copies(num_pictures, batch_size) * num_pictures // batch_size, steps)
    return math.ceil(steps / per_epoch), per_epoch


def tiled_batches(
    pictures: np.ndarray,
    arrays: tuple[np.ndarray, ...],
    batch_size: int,
    seed: int,
    rows: np.ndarray | None = None,
) -> Callable[[int], tf.data.Dataset]:
    """Returns a function from the epoch number to the epoch's batches.

    An epoch passes a small set of pictures several times. Pictures are not copied, so `pictures` may be a memory map.

    Args:
        pictures: uint8 [N, S, S, 3], which are augmented and shuffled, or features [N, D], which are only shuffled.
        arrays: arrays of as many rows as `rows`, batched with the pictures.
        batch_size: pictures per batch.
        seed: seed of the shuffling and the augmentation.
        rows: rows of `pictures` to use; all by default.
    """
    rows = np.arange(len(pictures)) if rows is None else rows
    copies = _copies(len(rows), batch_size)
    tiled = np.tile(rows, copies)
    arrays = tuple(np.concatenate([array] * copies) for array in arrays)
    augment = pictures.ndim == 4
    return lambda epoch: training_batches(pictures, arrays, batch_size, seed, epoch, augment, rows=tiled)


def _copies(num_pictures: int, batch_size: int) -> int:
    return math.ceil(SHORTEST_EPOCH * batch_size / num_pictures)
