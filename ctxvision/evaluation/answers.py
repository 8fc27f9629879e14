"""Predictions of an end-to-end model from cached features."""

import numpy as np
import tensorflow as tf

from ctxvision.classifier.run import Run
from ctxvision.models import ContextClassifier
from ctxvision.models.explanation import explain_found

_PICTURES_AT_A_TIME = 256


def answers_of(run: Run, model: ContextClassifier, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Predicts the pictures of a split: probabilities, float32 [N, L], and phrase ids, int32 [N, k]."""
    queries, visual = _features(run, split)
    probabilities, ids = [], []
    for start in range(0, max(1, len(queries)), _PICTURES_AT_A_TIME):
        part = slice(start, start + _PICTURES_AT_A_TIME)
        found = model.find_context(tf.constant(queries[part]))
        probabilities.append(
            model.fuse(tf.constant(visual[part]), found.vector, tf.constant(queries[part])).numpy()
        )
        ids.append(found.ids.numpy())
    return np.concatenate(probabilities), np.concatenate(ids)


def explained(run: Run, split: str, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Explains the first label that the run's classifier gives to each of these rows of a split; see `explain`."""
    queries, visual = (tf.constant(values[rows]) for values in _features(run, split))
    model = run.classifier
    told = explain_found(model, model.find_context(queries), visual, queries, top=1)
    return {name: values.numpy() for name, values in told.items()}


def _features(run: Run, split: str) -> tuple[np.ndarray, np.ndarray]:
    return run.query_embeddings(split), run.visual_features(split, max(run.config.fractions))
