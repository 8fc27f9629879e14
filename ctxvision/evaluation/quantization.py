"""What smaller tables cost."""

from typing import Any

import numpy as np
import tensorflow as tf

from ctxvision.classifier.run import Run
from ctxvision.classifier.task import task_of
from ctxvision.models import ContextClassifier

_PICTURES_AT_A_TIME = 256


def quantization_cost(run: Run, before: ContextClassifier, after: ContextClassifier) -> dict[str, Any]:
    """Compares a model with one of smaller tables on `val`.

    Args:
        run: whose models they are.
        before, after: the model as it was, and with quantised tables.

    Returns:
        `metric`, "top1" or, under several labels a picture, "map"; its values on `val` `before` and `after`;
        `same_phrases`, the share of the phrases found before that are found after; `pictures`; `megabytes_before` and
        `megabytes_after`, of the model's variables.
    """
    targets = run.data.label_targets("val")
    answers, phrases = zip(*(_answers(run, model) for model in (before, after)), strict=True)
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


def _answers(run: Run, model: ContextClassifier) -> tuple[np.ndarray, np.ndarray]:
    """float32 [N, L] probabilities and int32 [N, k] phrases of the pictures of `val`."""
    queries, visual = run.query_embeddings("val"), run.visual_features("val", max(run.config.fractions))
    probabilities, ids = [], []
    for start in range(0, len(queries), _PICTURES_AT_A_TIME):
        part = slice(start, start + _PICTURES_AT_A_TIME)
        found = model.find_context(tf.constant(queries[part]))
        probabilities.append(model.fusion([tf.constant(visual[part]), found.vector]).numpy())
        ids.append(found.ids.numpy())
    return np.concatenate(probabilities), np.concatenate(ids)


def _megabytes(model: ContextClassifier) -> float:
    return sum(v.shape.num_elements() * max(v.dtype.size, 1) for v in model.variables) / 1e6
