"""Trains heads like a run's own head over other features of its pictures."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ctxvision.classifier.head import train_head
from ctxvision.classifier.pool import train_pool
from ctxvision.classifier.run_folder import RunFolder
from ctxvision.classifier.task import task_of
from ctxvision.layers import ContextFusion, TermPlaces

# Function from a split to its features, one array per modality.
Inputs = Callable[[str], Sequence[np.ndarray]]


def trained_head(
    run: RunFolder,
    inputs: Inputs,
    seed: int,
    fusion: str = "pool",
    terms: TermPlaces | None = None,
    rows: np.ndarray | None = None,
    stages: Sequence[int] | None = None,
    **arguments: Any,
) -> ContextFusion:
    """Trains a head on `train` and calibrates it on `val`, as the run's own head.

    Args:
        run: a run whose stage `head` is finished.
        inputs: function from a split to its features, one array per modality.
        seed: seed of the head.
        fusion: "pool", or a joint head.
        terms: places of the labels' terms, for a pool.
        rows: rows of `train` to learn from; all by default.
        stages: hidden stages of a pool, see `train_pool`.
        **arguments: further arguments of `ContextFusion`, for a joint head.
    """
    data, config = run.data, run.config
    features, targets = inputs("train"), data.label_targets("train")
    if rows is not None:
        features, targets = [part[rows] for part in features], targets[rows]
    given = (features, targets, len(data.labels), run.head_steps, seed, run.choice.balance)
    if fusion == "pool":
        head = train_pool(*given, terms=terms, stages=stages)
    else:
        head = train_head(*given, fusion=fusion, **arguments)
    task_of(config).calibrate(head, inputs("val"), data.label_targets("val"))
    return head
