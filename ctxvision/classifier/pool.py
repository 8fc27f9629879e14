"""Trains a head of separate members, one per modality, and the labels' own terms."""

from collections.abc import Sequence

import numpy as np

from ctxvision.classifier.head import member_weights, new_head
from ctxvision.layers import ContextFusion, TermPlaces
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
) -> ContextFusion:
    """Trains `ContextFusion("pool")` on frozen features, each member with its own loss.

    A member is the head of one modality that `train_head` trains, once per process. The members' weights are 1 until
    `Task.calibrate` fits them.

    Args:
        features, targets, num_labels, steps, seed, balance: see `train_head`.
        terms: places of the labels' terms; `features` are then [visual, context, query embedding].
        stages: number of hidden stages of each member; by default those for visual features, context and query
            embedding.

    Returns:
        The head, a layer from the list of features to probabilities [N, L].
    """
    chosen = tuple(stages or list(STAGES.values())[: len(features)])
    weights = [
        member_weights([part], targets, num_labels, steps, seed, balance, stages=(of_part,))
        for part, of_part in zip(features, chosen, strict=True)
    ]
    most_terms = 0 if terms is None else terms.places.shape[1]
    widths = [part.shape[1] for part in features]
    head = new_head(widths, num_labels, targets.ndim == 2, seed, "pool", stages=chosen, terms=most_terms)
    for member, of_member in zip(head.members, weights, strict=True):
        member.set_weights(of_member)
    if terms is not None and head.label_terms is not None:
        head.label_terms.assign(terms)
    return head
