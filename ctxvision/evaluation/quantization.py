"""What smaller tables cost."""

from typing import Any

import numpy as np

from ctxvision.classifier.run import Run
from ctxvision.classifier.task import task_of
from ctxvision.evaluation.answers import answers_of
from ctxvision.models import ContextClassifier


def quantization_cost(run: Run, before: ContextClassifier, after: ContextClassifier) -> dict[str, Any]:
    """Compares a model with one of smaller tables on `val`, or on `train` where `val` has no pictures.

    Args:
        run: whose models they are.
        before, after: the model as it was, and with quantised tables.

    Returns:
        `metric`, "top1" or, under several labels a picture, "map"; its values `before` and `after`;
        `same_phrases`, the share of the phrases found before that are found after; `pictures`; `megabytes_before` and
        `megabytes_after`, of the model's variables.
    """
    split = "val" if len(run.data.split("val")) else "train"
    targets = run.data.label_targets(split)
    answers, phrases = zip(*(answers_of(run, model, split) for model in (before, after)), strict=True)
    task = task_of(run.config)
    return {
        "metric": task.metric,
        "before": float(task.quality(answers[0], targets)),
        "after": float(task.quality(answers[1], targets)),
        "same_phrases": float(np.mean([np.isin(b, a).mean() for b, a in zip(*phrases, strict=True)])),
        "pictures": len(targets),
        "megabytes_before": _megabytes(before),
        "megabytes_after": _megabytes(after),
    }


def _megabytes(model: ContextClassifier) -> float:
    return sum(v.shape.num_elements() * max(v.dtype.size, 1) for v in model.variables) / 1e6
