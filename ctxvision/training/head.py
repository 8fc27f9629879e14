"""Heads over frozen features: what the tables compare and the classifier keeps."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from ctxvision.layers import ContextFusion
from ctxvision.losses import WeightedCrossEntropy
from ctxvision.training.fit import cosine_adamw, fit
from ctxvision.training.strategies import building, steps_per_execution

BATCH_SIZE = 128
# What helps labels with few positives, under several labels a picture.
BALANCES = ("none", "positive_weight", "focal")
LARGEST_POSITIVE_WEIGHT = 20.0


def train_head(
    features: Sequence[np.ndarray],
    targets: np.ndarray,
    num_labels: int,
    steps: int,
    seed: int,
    balance: str = "none",
    **fusion: Any,
) -> keras.Model:
    """Trains `ContextFusion` on features [N, D_i], one float32 array a modality, and what `label_targets` gives.

    It trains on the strategy in whose scope this is called, on the host by default: a head takes seconds there, less
    than an accelerator's compiler does.

    Args:
        features: as above.
        targets: int label numbers [N]; or float32 [N, L] of zeros and ones, then each label is learnt on its own
            (sigmoid).
        num_labels: L.
        steps: of 128 rows each.
        seed: of initial weights, dropout and the order of rows.
        balance: of the second kind of targets: `"none"`; `"positive_weight"` weighs a label's positives by its
            negatives over its positives, at most 20, and takes what that adds to the logits off afterwards;
            `"focal"` is the focal loss with gamma 2 (Lin et al. 2017).
        **fusion: arguments of `ContextFusion`.

    Returns:
        A model from the list of features to probabilities [N, L]; `model.get_layer("context_fusion")` is the head.

    Raises:
        ValueError: features that are not finite, or an unknown balance.
    """
    for number, part in enumerate(features):
        if not np.isfinite(part).all():
            raise ValueError(
                f"features must be finite, got {np.count_nonzero(~np.isfinite(part).all(axis=1))} rows of modality "
                f"{number} with NaN or infinity: look at the tower that made them."
            )
    several = targets.ndim == 2
    loss = _balanced_loss(targets, balance) if several else "sparse_categorical_crossentropy"
    strategy = tf.distribute.get_strategy()
    with building(strategy):
        head = head_model([part.shape[1] for part in features], num_labels, several, seed, **fusion)
        optimizer = cosine_adamw(1e-3, steps, weight_decay=0.05)
        head.compile(optimizer, loss, steps_per_execution=steps_per_execution(strategy))
    fit(head, batches(features, targets, steps, seed))
    if isinstance(loss, WeightedCrossEntropy):
        bias = head.get_layer("context_fusion").output_stage.bias
        bias.assign_sub(np.log(loss.positive_weights))
    return head


def head_model(
    widths: Sequence[int], num_labels: int, several: bool, seed: int, **fusion: Any
) -> keras.Model:
    """The model that `train_head` trains: features of these widths to probabilities [N, num_labels]."""
    keras.utils.set_random_seed(seed)
    inputs = [keras.Input([width]) for width in widths]
    activation = "sigmoid" if several else "softmax"
    fused = ContextFusion(num_labels, activation=activation, seed=seed, name="context_fusion", **fusion)
    return keras.Model(inputs, fused(inputs))


def _balanced_loss(targets: np.ndarray, balance: str) -> keras.losses.Loss:
    if balance not in BALANCES:
        raise ValueError(f"balance must be one of {', '.join(BALANCES)}, got {balance!r}: choose one.")
    if balance == "positive_weight":
        positives = targets.sum(axis=0)
        weights = (len(targets) - positives) / np.maximum(positives, 1)
        return WeightedCrossEntropy(weights.clip(1.0, LARGEST_POSITIVE_WEIGHT).tolist())
    if balance == "focal":
        return keras.losses.BinaryFocalCrossentropy(gamma=2.0)
    return keras.losses.BinaryCrossentropy()


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
