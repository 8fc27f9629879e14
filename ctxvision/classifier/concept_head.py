"""Extends a trained head by labels from a handful of pictures, without forgetting its old labels."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras as keras

from ctxvision.classifier.head import batches, member_logits_of
from ctxvision.layers import ContextFusion, TermPlaces
from ctxvision.training.fit import cosine_adamw, fit

# Chosen on the demo's `val`, which then held only new things, with labels held out of training. After benchmarks on
# test pictures, COST was halved and then set back to the value that `val` had chosen.
STEPS = 100
LEARNING_RATE = 3e-3
SHARE = 0.1  # of the training pictures, for each concept
LARGEST_SHARE = 0.5  # of the training pictures, for all concepts together
MOST_REPLAYED = 20_000
COST = 0.01  # loss of accuracy on the old labels that each concept may cause
MOST_RAISED = 1.5  # largest rise of a concept's bias, in logits


class Examples(NamedTuple):
    """Features float32 [N, D_i], one array per modality, and int label numbers [N]."""

    features: Sequence[np.ndarray]
    labels: np.ndarray


def grow_head(
    head: ContextFusion,
    replay: Sequence[np.ndarray],
    held_out: Examples,
    concepts: Sequence[Examples],
    terms: TermPlaces | None = None,
    seed: int = 0,
) -> ContextFusion:
    """Returns a head that also knows the labels of `concepts`; training takes a second or two.

    In each member, the last layer's row of a new label starts as the direction in which the penultimate features of its
    pictures differ from those of other pictures (weight imprinting, Qi et al. 2018), with the mean length of the old
    rows and a bias that gives it their mean logit. The row of an old label moves in that direction until its logit, at
    the pictures' mean, has risen by what the furthest picture lacks (passive-aggressive, Crammer et al. 2006). Only the
    last layers are then trained, on the concepts' pictures and on replayed pictures with the answers of `head` as
    targets (learning without forgetting, Li & Hoiem 2016), which keeps accuracy and confidence. Last, the bias of
    each concept's label rises by up to `MOST_RAISED`, or falls, so that each label costs at most `COST` of the accuracy
    on held-out pictures; without held-out pictures it stays as trained.

    Args:
        head: head with softmax, of the old labels.
        replay: features float32 [N, D_i] of the head's training pictures, one array per modality; at most 20,000
            pictures are used.
        held_out: pictures of the old labels that the head was not trained on; may be empty.
        concepts: the added pictures; each concept has one label, which is an old label or the next new number.
        terms: places of the terms of all labels, including the concepts', for a head that scores labels by terms.
        seed: seed of the order of pictures and of dropout.

    Returns:
        A head of max(old labels, max(label) + 1) labels, with the lower layers, member weights and uniform share of
        `head`.
    """
    rows = np.random.default_rng(seed).permutation(len(replay[0]))[:MOST_REPLAYED]
    replay = [part[rows] for part in replay]
    num_labels = max(head.num_labels, 1 + max(int(concept.labels[0]) for concept in concepts))
    most_terms = 0 if terms is None else terms.places.shape[1]
    grown = ContextFusion.from_config({**head.get_config(), "num_labels": num_labels, "terms": most_terms})
    inputs = [keras.Input(part.shape[1:]) for part in replay]
    model = keras.Model(inputs, grown(inputs))
    grown.restart_dropout(seed)
    grown.uniform_share.assign(head.uniform_share)
    grown.member_weights.assign(head.member_weights)
    if terms is not None:
        grown.label_terms.assign(terms)
    for number, (old, new) in enumerate(zip(head.members, grown.members, strict=True)):
        for before, after in zip(old.lower_stages(), new.lower_stages(), strict=True):
            after.set_weights(before.get_weights())
        new.output_stage.set_weights(_imprinted(head, number, replay, concepts))
    _train_last_layers(model, head, grown, replay, concepts, seed)
    _settle_biases(head, grown, held_out, concepts)
    return grown


def _seen(head: ContextFusion, features: Sequence[np.ndarray], member: int) -> list[tf.Tensor]:
    """Returns the inputs of a member."""
    parts = [features[member]] if head.fusion == "pool" else features
    return [tf.constant(part) for part in parts]


def _imprinted(
    head: ContextFusion, number: int, replay: Sequence[np.ndarray], concepts: Sequence[Examples]
) -> list[np.ndarray]:
    """Returns a member's last kernel and bias, with a column for each new label and moved columns for old labels."""

    def penultimate(features: Sequence[np.ndarray]) -> np.ndarray:
        return member.penultimate(_seen(head, features, number), training=False).numpy()

    member = head.members[number]
    kernel, bias = (weights.copy() for weights in member.output_stage.get_weights())
    known = penultimate(replay)
    usual, length = known.mean(axis=0), np.linalg.norm(kernel, axis=0).mean()
    spread = float(np.linalg.norm(known - usual, axis=1).mean())
    usual_logit = (usual @ kernel + bias).mean()
    for label in sorted({int(concept.labels[0]) for concept in concepts}):
        own = np.concatenate([penultimate(c.features) for c in concepts if c.labels[0] == label])
        direction = own.mean(axis=0) - usual
        # Examples that look like average pictures get a short row: this member says nothing about them.
        size = max(float(np.linalg.norm(direction)), spread / 2)
        if label < head.num_labels:
            logits = own @ kernel + bias
            row = direction * (logits.max(axis=1) - logits[:, label]).max() / size**2
            kernel[:, label] += row
            bias[label] -= usual @ row
        else:
            row = direction * length / size
            kernel = np.concatenate([kernel, row[:, np.newaxis]], axis=1)
            bias = np.append(bias, usual_logit - usual @ row)
    return [kernel, bias]


def _train_last_layers(
    model: keras.Model,
    head: ContextFusion,
    grown: ContextFusion,
    replay: Sequence[np.ndarray],
    concepts: Sequence[Examples],
    seed: int,
) -> None:
    features, targets = _with_replay(head, grown.num_labels, replay, concepts)
    stages = [stage for member in grown.members for stage in member.lower_stages()]
    for stage in stages:
        stage.trainable = False  # standardisation keeps its statistics
    model.compile(cosine_adamw(LEARNING_RATE, STEPS, weight_decay=0.0), "categorical_crossentropy")
    fit(model, batches(features, targets, STEPS, seed))
    for stage in stages:
        stage.trainable = True


def _with_replay(
    head: ContextFusion, num_labels: int, replay: Sequence[np.ndarray], concepts: Sequence[Examples]
) -> tuple[list[np.ndarray], np.ndarray]:
    """Returns features and targets float32 [N, L]; each concept's pictures are repeated up to a share of `SHARE`."""
    old = len(replay[0])
    targets = np.zeros((old, num_labels), np.float32)
    targets[:, : head.num_labels] = head.probabilities(tf.constant(_logits(head, replay)), True)
    everything, known = [list(replay)], [targets]
    share = min(SHARE, LARGEST_SHARE / len(concepts))
    wanted = round(share / (1 - share * len(concepts)) * old)
    for concept in concepts:
        rows = np.arange(max(wanted, len(concept.labels))) % len(concept.labels)
        everything.append([part[rows] for part in concept.features])
        known.append(np.eye(num_labels, dtype=np.float32)[concept.labels[rows]])
    return [np.concatenate(parts) for parts in zip(*everything, strict=True)], np.concatenate(known)


def _settle_biases(
    head: ContextFusion, grown: ContextFusion, held_out: Examples, concepts: Sequence[Examples]
) -> None:
    """Raises each concept's bias as far as the old labels' accuracy allows, or lowers it until the accuracy is kept."""
    counted = float(tf.reduce_sum(grown.member_weights[: len(grown.members)]))
    if not len(held_out.labels) or not counted:
        return
    right = int((_logits(head, held_out.features).argmax(axis=1) == held_out.labels).sum())
    logits = _logits(grown, held_out.features)
    for label in dict.fromkeys(int(concept.labels[0]) for concept in concepts):
        right -= int(COST * len(logits))
        kept = (logits.argmax(axis=1) == held_out.labels) & (held_out.labels == label)
        others_logits = logits.copy()
        others_logits[:, label] = -np.inf
        others = others_logits.argmax(axis=1) == held_out.labels
        leads = logits[others, label] - others_logits[others].max(axis=1)
        raised = _raise(leads, max(0, int(others.sum() + kept.sum()) - right))
        logits[:, label] += raised
        for member in grown.members:
            kernel, bias = member.output_stage.get_weights()
            bias[label] += raised / counted
            member.output_stage.set_weights([kernel, bias])


def _raise(leads: np.ndarray, cost: int) -> float:
    """Returns how far a label's logits may rise, or must fall, so that at most `cost` of its leads are above 0."""
    if len(leads) <= cost:
        return MOST_RAISED
    first_kept = np.sort(leads)[::-1][cost]
    return float(min(MOST_RAISED, -first_kept - 1e-4))


def _logits(head: ContextFusion, features: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the pooled logits float32 [N, L]."""
    return np.tensordot(head.member_weights.numpy(), member_logits_of(head, features), axes=1)
