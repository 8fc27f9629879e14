"""Heads over frozen features: what the tables compare and the classifier keeps."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from ctxvision.layers import ContextFusion
from ctxvision.training.fit import cosine_adamw

BATCH_SIZE = 128


def train_head(
    features: Sequence[np.ndarray],
    targets: np.ndarray,
    num_labels: int,
    steps: int,
    seed: int,
    **fusion: Any,
) -> keras.Model:
    """Trains `ContextFusion` on features [N, D_i], one float32 array a modality, and int label numbers [N].

    Args:
        features, targets, num_labels: as above.
        steps: of 128 rows each.
        seed: of initial weights, dropout and the order of rows.
        **fusion: arguments of `ContextFusion`.

    Returns:
        A model from the list of features to probabilities [N, L]; `model.get_layer("context_fusion")` is the head.

    Raises:
        ValueError: features that are not finite.
    """
    for number, part in enumerate(features):
        if not np.isfinite(part).all():
            raise ValueError(
                f"features must be finite, got {np.count_nonzero(~np.isfinite(part).all(axis=1))} rows of modality "
                f"{number} with NaN or infinity: look at the tower that made them."
            )
    keras.utils.set_random_seed(seed)
    inputs = [keras.Input(part.shape[1:]) for part in features]
    head = keras.Model(inputs, ContextFusion(num_labels, seed=seed, name="context_fusion", **fusion)(inputs))
    head.compile(cosine_adamw(1e-3, steps, weight_decay=0.05), "sparse_categorical_crossentropy")
    head.fit(batches(features, targets, steps, seed), verbose=0)
    return head


def probabilities_of(head: keras.Model, features: Sequence[np.ndarray]) -> np.ndarray:
    """float32 [N, L] of features [N, D_i]; small heads answer quicker than `predict` is traced."""
    starts = range(0, len(features[0]), 4096)
    parts = [head([tf.constant(part[i : i + 4096]) for part in features], training=False) for i in starts]
    return np.concatenate(parts)


def batches(features: Sequence[np.ndarray], labels: np.ndarray, steps: int, seed: int) -> tf.data.Dataset:
    """`steps` batches, each pass over the rows in a new order."""
    rng = np.random.default_rng(seed)
    passes = -(-steps * BATCH_SIZE // len(labels))
    order = np.concatenate([rng.permutation(len(labels)) for _ in range(passes)])
    rows = order[: steps * BATCH_SIZE].reshape(steps, BATCH_SIZE)
    parts = tuple(tf.constant(part) for part in features)
    targets = tf.constant(labels)
    return tf.data.Dataset.from_tensor_slices(rows).map(
        lambda batch: (tuple(tf.gather(part, batch) for part in parts), tf.gather(targets, batch))
    )
