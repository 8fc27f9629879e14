"""The cost in quality of quantised tables."""

from typing import Any

import numpy as np

from ctxvision.classifier.run import Run
from ctxvision.classifier.task import task_of
from ctxvision.evaluation.answers import answers_of
from ctxvision.models import ContextClassifier


def quantization_cost(run: Run, before: ContextClassifier, after: ContextClassifier) -> dict[str, Any]:
    """Compares a model with its quantised version on `val`, or on `train` if `val` has no labelled pictures.

    Args:
        run: the run of both models.
        before, after: the model without and with quantised tables.

    Returns:
        `metric`, "top1" or, with several labels a picture, "map"; its values `before` and `after`; `same_phrases`, the
        share of the phrases found before that are also found after; `pictures`, their number; `megabytes_before` and
        `megabytes_after`, the size of the model's variables.
    """
    task = task_of(run.config)
    split = "val" if task.measurable(run.data.label_targets("val")) else "train"
    targets = run.data.label_targets(split)
    answers, phrases = zip(*(answers_of(run, model, split) for model in (before, after)), strict=True)
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
