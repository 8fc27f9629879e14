"""Trains a head of separate members, one per modality, and the labels' own terms."""

from collections.abc import Sequence

import numpy as np
import tf_keras as keras

from ctxvision.classifier.head import head_model, member_weights
from ctxvision.layers import TermPlaces
from ctxvision.layers.context_fusion import STAGES


def train_pool(
    features: Sequence[np.ndarray],
    targets: np.ndarray,
    num_labels: int,
    steps: int,
    seed: int,
    balance: str = "none",
    terms: TermPlaces | None = None,
    stages: Sequence[int] | None = None,
) -> keras.Model:
    """Trains `ContextFusion("pool")` on frozen features, each member with its own loss.

    A member is the head of one modality that `train_head` trains, once per process. The members' weights are 1 until
    `Task.calibrate` fits them.

    Args:
        features, targets, num_labels, steps, seed, balance: see `train_head`.
        terms: places of the labels' terms; `features` are then [visual, context, query embedding].
        stages: number of hidden stages of each member; by default those for visual features, context and query
            embedding.

    Returns:
        A model from the list of features to probabilities [N, L]; `model.get_layer("context_fusion")` is the head.
    """
    chosen = tuple(stages or list(STAGES.values())[: len(features)])
    weights = [
        member_weights([part], targets, num_labels, steps, seed, balance, stages=(of_part,))
        for part, of_part in zip(features, chosen, strict=True)
    ]
    most_terms = 0 if terms is None else terms.places.shape[1]
    widths = [part.shape[1] for part in features]
    pool = head_model(widths, num_labels, targets.ndim == 2, seed, "pool", stages=chosen, terms=most_terms)
    fusion = pool.get_layer("context_fusion")
    for member, of_member in zip(fusion.members, weights, strict=True):
        member.set_weights(of_member)
    if terms is not None:
        fusion.label_terms.assign(terms)
    return pool
