"""A head that learns labels from a handful of pictures and keeps those that it knows."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras as keras

from ctxvision.layers import ContextFusion
from ctxvision.training.fit import cosine_adamw
from ctxvision.training.head import batches

# Chosen on `val` of the demo, with labels held out of training.
STEPS = 100
LEARNING_RATE = 3e-3
SHARE = 0.2  # of a batch that is one concept's pictures
LARGEST_SHARE = 0.5  # of all concepts'
MOST_REPLAYED = 20_000
COST = 0.005  # share of the pictures of other labels that a concept may take
MOST_RAISED = 1.0


class Examples(NamedTuple):
    """Features float32 [N, D_i], one array a modality, and int label numbers [N]."""

    features: Sequence[np.ndarray]
    labels: np.ndarray


def grow_head(
    head: ContextFusion, replay: Examples, held_out: Examples, concepts: Sequence[Examples], seed: int = 0
) -> ContextFusion:
    """A head that knows the labels of `concepts` as well, trained in a second or two.

    A new label's row in the last layer starts as the direction in which its pictures' penultimate features differ
    from the others' (weight imprinting, Qi et al. 2018), of the old rows' mean length and with the bias that gives it
    their mean logit. Then the last layer alone is trained on the concepts' pictures and on replayed ones. At last each
    concept's bias is set so that it takes as much as `COST` of the held-out pictures from labels that had them right.

    Args:
        head: under softmax, of the old labels.
        replay: what the head was trained on; at most 20,000 pictures of it are used.
        held_out: pictures of the old labels that it was not trained on, may be none.
        concepts: the added pictures, each concept with one label: an old one, or the next new number.
        seed: of the order of pictures and dropout.

    Returns:
        A head of max(label) + 1 labels, whose other stages are those of `head`.
    """
    rng = np.random.default_rng(seed)
    if len(replay.labels) > MOST_REPLAYED:
        replay = _take(replay, np.sort(rng.choice(len(replay.labels), MOST_REPLAYED, replace=False)))
    keras.utils.set_random_seed(seed)
    num_labels = max(head.num_labels, 1 + max(int(concept.labels[0]) for concept in concepts))
    grown = ContextFusion.from_config({**head.get_config(), "num_labels": num_labels})
    inputs = [keras.Input(part.shape[1:]) for part in replay.features]
    model = keras.Model(inputs, grown(inputs))
    _copy_lower_stages(head, grown)
    grown.output_stage.set_weights(_imprinted(head, replay, concepts, num_labels))
    _train_last_layer(model, grown, replay, concepts, seed)
    _settle_biases(grown, held_out, concepts)
    return grown


def _lower_stages(head: ContextFusion) -> list[keras.layers.Layer]:
    return [*head.standardize, *head.stage_1, head.stage_2]


def _copy_lower_stages(head: ContextFusion, grown: ContextFusion) -> None:
    for old, new in zip(_lower_stages(head), _lower_stages(grown), strict=True):
        new.set_weights(old.get_weights())


def _imprinted(
    head: ContextFusion, replay: Examples, concepts: Sequence[Examples], num_labels: int
) -> list[np.ndarray]:
    """The last layer's kernel and bias, with a column for each new label."""
    kernel, bias = head.output_stage.get_weights()
    known = _penultimate(head, replay.features)
    length = np.linalg.norm(kernel, axis=0).mean()
    usual = (known @ kernel + bias).mean()
    for label in range(head.num_labels, num_labels):
        own = np.concatenate([_penultimate(head, c.features) for c in concepts if c.labels[0] == label])
        row = own.mean(axis=0) - known.mean(axis=0)
        row *= length / max(np.linalg.norm(row), 1e-6)
        kernel = np.concatenate([kernel, row[:, np.newaxis]], axis=1)
        bias = np.append(bias, usual - (known @ row).mean())
    return [kernel, bias]


def _train_last_layer(
    model: keras.Model, grown: ContextFusion, replay: Examples, concepts: Sequence[Examples], seed: int
) -> None:
    stages = _lower_stages(grown)
    for stage in stages:
        stage.trainable = False  # standardisation goes on with the statistics that it has
    old = len(replay.labels)
    share = min(SHARE, LARGEST_SHARE / len(concepts))
    wanted = share / (1 - share * len(concepts)) * old  # pictures of each concept, beside the replayed ones
    rows, start = [np.arange(old)], old
    for concept in concepts:
        number = len(concept.labels)
        rows.append(start + np.arange(max(number, round(wanted))) % number)
        start += number
    everything = [replay, *concepts]
    order = np.concatenate(rows)
    features = [
        np.concatenate([part.features[i] for part in everything])[order] for i in range(len(replay.features))
    ]
    labels = np.concatenate([part.labels for part in everything])[order]
    model.compile(cosine_adamw(LEARNING_RATE, STEPS, weight_decay=0.0), "sparse_categorical_crossentropy")
    model.fit(batches(features, labels, STEPS, seed), verbose=0)
    for stage in stages:
        stage.trainable = True


def _settle_biases(grown: ContextFusion, held_out: Examples, concepts: Sequence[Examples]) -> None:
    kernel, bias = grown.output_stage.get_weights()
    if not len(held_out.labels):
        return
    known = _penultimate(grown, held_out.features)
    for label in dict.fromkeys(int(concept.labels[0]) for concept in concepts):
        logits = known @ kernel + bias
        own = logits[:, label].copy()
        logits[:, label] = -np.inf
        right = (logits.argmax(axis=1) == held_out.labels) & (held_out.labels != label)
        bias[label] += _raise(own[right] - logits[right].max(axis=1), int(COST * len(known)))
    grown.output_stage.set_weights([kernel, bias])


def _raise(leads: np.ndarray, cost: int) -> float:
    """By how much a label's logits may rise, or must fall, so that at most `cost` of its leads are above 0."""
    if len(leads) <= cost:
        return MOST_RAISED
    first_kept = np.sort(leads)[::-1][cost]
    return float(min(MOST_RAISED, -first_kept - 1e-4))


def _penultimate(head: ContextFusion, features: Sequence[np.ndarray]) -> np.ndarray:
    return head.penultimate([tf.constant(part) for part in features], training=False).numpy()


def _take(examples: Examples, rows: np.ndarray) -> Examples:
    return Examples([part[rows] for part in examples.features], examples.labels[rows])
