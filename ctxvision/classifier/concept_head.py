"""A head that learns labels from a handful of pictures and keeps those that it knows."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras as keras

from ctxvision.classifier.head import batches, member_logits_of
from ctxvision.layers import ContextFusion, TermPlaces
from ctxvision.training.fit import cosine_adamw, fit

# Chosen on `val` of the demo when it was of new things alone, with labels held out of training. COST was halved, and set
# back to what `val` had chosen, after benchmarks on test pictures.
STEPS = 100
LEARNING_RATE = 3e-3
SHARE = 0.1  # of a batch that is one concept's pictures
LARGEST_SHARE = 0.5  # of all concepts'
MOST_REPLAYED = 20_000
COST = 0.01  # of the old labels' accuracy, that a concept may cost
MOST_RAISED = 1.5  # logits that its bias is raised at most


class Examples(NamedTuple):
    """Features float32 [N, D_i], one array a modality, and int label numbers [N]."""

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
    """A head that knows the labels of `concepts` as well, trained in a second or two.

    In each member a new label's row of the last layer starts as the direction in which its pictures' penultimate
    features differ from the others' (weight imprinting, Qi et al. 2018), of the old rows' mean length and with the bias
    that gives it their mean logit. An old label's row moves in that direction until its logit, at the pictures' mean,
    has risen by as much as the picture that is furthest from it lacks (passive-aggressive, Crammer et al. 2006). Then
    the last layers alone are trained on the concepts' pictures, and on replayed ones with what `head` says of them as
    targets (learning without forgetting, Li & Hoiem 2016): so it stays as right and as sure. At last each
    concept's bias is set so high that it costs `COST` of the accuracy on held-out pictures.

    Args:
        head: under softmax, of the old labels.
        replay: features of what the head was trained on, float32 [N, D_i], one array a modality; at most 20,000
            pictures of it are used.
        held_out: pictures of the old labels that it was not trained on, may be none.
        concepts: the added pictures, each concept with one label: an old one, or the next new number.
        terms: where the terms of all labels lie, those of the concepts too, for a head that scores labels by terms.
        seed: of the order of pictures and dropout.

    Returns:
        A head of max(label) + 1 labels, whose other stages and member weights are those of `head`.
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
    """What a member sees of all modalities."""
    parts = [features[member]] if head.fusion == "pool" else features
    return [tf.constant(part) for part in parts]


def _imprinted(
    head: ContextFusion, number: int, replay: Sequence[np.ndarray], concepts: Sequence[Examples]
) -> list[np.ndarray]:
    """A member's last kernel and bias, with a column for each new label, and those of old ones moved."""

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
        # Examples that look like any pictures make a short row: they say nothing here.
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
        stage.trainable = False  # standardisation goes on with the statistics that it has
    model.compile(cosine_adamw(LEARNING_RATE, STEPS, weight_decay=0.0), "categorical_crossentropy")
    fit(model, batches(features, targets, STEPS, seed))
    for stage in stages:
        stage.trainable = True


def _with_replay(
    head: ContextFusion, num_labels: int, replay: Sequence[np.ndarray], concepts: Sequence[Examples]
) -> tuple[list[np.ndarray], np.ndarray]:
    """Features and targets float32 [N, L], each concept's pictures repeated so that they are `SHARE` of them."""
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
    """Raises each concept's bias as far as the old labels' accuracy allows, or lowers it until it does."""
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
    """By how much a label's logits may rise, or must fall, so that at most `cost` of its leads are above 0."""
    if len(leads) <= cost:
        return MOST_RAISED
    first_kept = np.sort(leads)[::-1][cost]
    return float(min(MOST_RAISED, -first_kept - 1e-4))


def _logits(head: ContextFusion, features: Sequence[np.ndarray]) -> np.ndarray:
    """float32 [N, L]."""
    return np.tensordot(head.member_weights.numpy(), member_logits_of(head, features), axes=1)
