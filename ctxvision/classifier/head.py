"""Trains heads over frozen features, for the tables and for the classifier."""

import functools
import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras as keras

from ctxvision.layers import ContextFusion
from ctxvision.losses import KnownLabels, WeightedCrossEntropy
from ctxvision.training.fit import cosine_adamw, fit
from ctxvision.training.strategies import building

BATCH_SIZE = 128
LEARNING_RATES = {0: 4e-3, 1: 4e-3, 2: 2e-3}  # by the number of hidden stages of a head
FEWEST_COMPILED = 200  # steps from which XLA compiles the training
# Ways to help labels with few positives, for several labels per picture.
BALANCES = ("none", "positive_weight", "focal")
LARGEST_POSITIVE_WEIGHT = 20.0
# A run's stages and its evaluation train about 60 heads.
MOST_REMEMBERED = 64
_ROWS = 4096  # rows per call


def train_head(
    features: Sequence[np.ndarray],
    targets: np.ndarray,
    num_labels: int,
    steps: int,
    seed: int,
    balance: str = "none",
    **fusion: Any,
) -> ContextFusion:
    """Trains a joint head, or the head of one modality, on frozen features; see `train_pool` for several members.

    Training runs under the strategy in scope, by default on the host, where a head takes less than a second. Heads of
    the same shape share one compiled model, so only the first of them is traced. A process remembers the last
    `MOST_REMEMBERED` heads by their inputs, and trains none of them twice.

    Args:
        features: float32 [N, D_i], one array per modality.
        targets: int label numbers [N]; or float32 [N, L] of 0 and 1, with -1 for unknown targets, which are ignored;
            each label is then learnt on its own (sigmoid).
        num_labels: L.
        steps: training steps of 128 rows each.
        seed: seed of the initial weights, of dropout and of the order of rows.
        balance: balance of the loss for targets [N, L]: `"none"`; `"positive_weight"` weighs a label's positives by
            negatives / positives, between 1 and 20, and afterwards subtracts the logarithm of that weight from the
            label's bias; `"focal"` is the focal loss with gamma 2 (Lin et al. 2017). Targets [N] ignore it.
        **fusion: arguments of `ContextFusion`, whose `fusion` is "concat" by default.

    Returns:
        The head, a layer from the list of features to probabilities [N, L].

    Raises:
        ValueError: a feature is not finite, or the balance is unknown.
    """
    head = new_head([part.shape[1] for part in features], num_labels, targets.ndim == 2, seed, **fusion)
    _member_of(head).set_weights(
        member_weights(features, targets, num_labels, steps, seed, balance, **fusion)
    )
    return head


def member_weights(
    features: Sequence[np.ndarray],
    targets: np.ndarray,
    num_labels: int,
    steps: int,
    seed: int,
    balance: str = "none",
    **fusion: Any,
) -> list[np.ndarray]:
    """Trains a head, and returns the weights of its single member; see `train_head`."""
    for number, part in enumerate(features):
        if not np.isfinite(part).all():
            raise ValueError(
                f"features must be finite, got {np.count_nonzero(~np.isfinite(part).all(axis=1))} rows of modality "
                f"{number} with NaN or infinity: check the tower that made them."
            )
    widths = tuple(part.shape[1] for part in features)
    shape = _Shape(widths, num_labels, steps, _loss_of(targets, balance), tuple(sorted(fusion.items())))
    inputs = (shape, seed, *map(_digest, [*features, targets]))
    if inputs not in _remembered:
        _remembered[inputs] = _trained(shape, features, targets, seed)
        while len(_remembered) > MOST_REMEMBERED:
            _remembered.popitem(last=False)
    _remembered.move_to_end(inputs)
    return _remembered[inputs]


def new_head(
    widths: Sequence[int], num_labels: int, several: bool, seed: int, fusion: str = "concat", **arguments: Any
) -> ContextFusion:
    """Returns an untrained head from features of these widths to probabilities [N, num_labels]."""
    activation = "sigmoid" if several else "softmax"
    head = ContextFusion(num_labels, fusion, activation, seed=seed, name="context_fusion", **arguments)
    head([tf.zeros([1, width]) for width in widths])
    return head


def head_model(widths: Sequence[int], *arguments: Any, **named: Any) -> keras.Model:
    """Returns the model that `train_head` trains, over a head with the arguments of `new_head`."""
    inputs = [keras.Input([width]) for width in widths]
    return keras.Model(inputs, new_head(widths, *arguments, **named)(inputs))


class _Loss(NamedTuple):
    """The parts of the loss; `positive_weights` has one number per label, or is empty."""

    several: bool
    focal: bool
    positive_weights: tuple[float, ...]
    unknown: bool

    def make(self) -> "str | keras.losses.Loss":
        if not self.several:
            return "sparse_categorical_crossentropy"
        if self.positive_weights:
            return WeightedCrossEntropy(list(self.positive_weights))
        loss = (
            keras.losses.BinaryFocalCrossentropy(gamma=2.0)
            if self.focal
            else keras.losses.BinaryCrossentropy()
        )
        return KnownLabels(loss) if self.unknown else loss


def _loss_of(targets: np.ndarray, balance: str) -> _Loss:
    if balance not in BALANCES:
        raise ValueError(f"balance must be one of {', '.join(BALANCES)}, got {balance!r}: choose one.")
    if targets.ndim == 1:
        return _Loss(False, False, (), False)
    weights: tuple[float, ...] = ()
    if balance == "positive_weight":
        positives, negatives = (targets == 1).sum(axis=0), (targets == 0).sum(axis=0)
        weights = tuple((negatives / np.maximum(positives, 1)).clip(1.0, LARGEST_POSITIVE_WEIGHT).tolist())
    return _Loss(True, balance == "focal", weights, bool((targets < 0).any()))


class _Shape(NamedTuple):
    """Everything that the graph of a head's training depends on."""

    widths: tuple[int, ...]
    num_labels: int
    steps: int
    loss: _Loss
    fusion: tuple[tuple[str, Any], ...]


# Member weights of the heads that this process has trained, by their inputs; the most recently used head is last.
_remembered: OrderedDict[tuple[Any, ...], list[np.ndarray]] = OrderedDict()


def _digest(values: np.ndarray) -> tuple[Any, ...]:
    return values.shape, values.dtype.str, hashlib.blake2b(np.ascontiguousarray(values).data).digest()


@functools.lru_cache(maxsize=8)
def _compiled(shape: _Shape, strategy: tf.distribute.Strategy) -> keras.Model:
    with building(strategy):
        model = head_model(shape.widths, shape.num_labels, shape.loss.several, 0, **dict(shape.fusion))
        rate = LEARNING_RATES[max(dict(shape.fusion).get("stages") or (2,))]
        optimizer = cosine_adamw(rate, shape.steps, weight_decay=0.05)
        # All steps run in one execution, because a step takes less time than Python takes between two steps. On the
        # host XLA fuses AdamW's many small operations; its compilation takes a second, which pays off only for many
        # steps.
        compiled = not tf.distribute.has_strategy() and shape.steps >= FEWEST_COMPILED
        model.compile(optimizer, shape.loss.make(), steps_per_execution=shape.steps, jit_compile=compiled)
    # AutoGraph would take longer to convert a step, which has no Python control flow, than the step takes to run.
    model.train_step = tf.autograph.experimental.do_not_convert(model.train_step)
    return model


def _trained(
    shape: _Shape, features: Sequence[np.ndarray], targets: np.ndarray, seed: int
) -> list[np.ndarray]:
    """Trains the model of a shape from the initial weights of a seed, and returns the weights of its member."""
    model = _compiled(shape, tf.distribute.get_strategy())
    head = model.get_layer("context_fusion")
    initial = new_head(shape.widths, shape.num_labels, shape.loss.several, seed, **dict(shape.fusion))
    head.set_weights(initial.get_weights())
    head.restart_dropout(seed)
    for variable in model.optimizer.variables:
        variable.assign(tf.zeros_like(variable))
    fit(model, batches(features, targets, shape.steps, seed))
    if shape.loss.positive_weights:
        _member_of(head).output_stage.bias.assign_sub(np.log(shape.loss.positive_weights))
    return _member_of(head).get_weights()


def _member_of(head: ContextFusion) -> keras.layers.Layer:
    """Returns the only member of a joint head."""
    (member,) = head.members
    return member


def probabilities_of(head: keras.layers.Layer, features: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the probabilities float32 [N, L] of features [N, D_i], in calls, which are faster than `predict` here."""
    return np.concatenate([head(part, training=False) for part in _chunks(features)])


def member_logits_of(fusion: ContextFusion, features: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the logits float32 [M, N, L] of each member of a built fusion for features [N, D_i]."""
    return np.concatenate([np.stack(fusion.member_logits(part)) for part in _chunks(features)], axis=1)


def _chunks(features: Sequence[np.ndarray]) -> Iterator[list[tf.Tensor]]:
    for start in range(0, max(len(features[0]), 1), _ROWS):
        yield [tf.constant(part[start : start + _ROWS]) for part in features]


def batches(features: Sequence[np.ndarray], labels: np.ndarray, steps: int, seed: int) -> tf.data.Dataset:
    """Returns `steps` batches; each pass over the rows has a new order."""
    rng = np.random.default_rng(seed)
    passes = -(-steps * BATCH_SIZE // len(labels))
    order = np.concatenate([rng.permutation(len(labels)) for _ in range(passes)])
    rows = order[: steps * BATCH_SIZE].reshape(steps, BATCH_SIZE)
    parts = tuple(tf.constant(part) for part in features)
    targets = tf.constant(labels)
    # Prefetched, because a step takes no longer than preparing its batch.
    return (
        tf.data.Dataset.from_tensor_slices(rows)
        .map(lambda batch: (tuple(tf.gather(part, batch) for part in parts), tf.gather(targets, batch)))
        .prefetch(16)
    )
