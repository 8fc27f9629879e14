"""What depends on whether a picture has one label or several: targets, losses, metric and calibration."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras as keras

from ctxvision.classifier.calibration import calibrated, fit_calibration, fold_calibration
from ctxvision.classifier.config import Config
from ctxvision.classifier.head import BALANCES, probabilities_of
from ctxvision.classifier.thresholds import PRECISION, fit_thresholds
from ctxvision.losses import KnownLabels
from ctxvision.metrics import (
    Interval,
    expected_calibration_error,
    interval_of_draws,
    map_draws,
    mean_average_precision,
    paired_interval,
    ranks_of,
    top_k_accuracy,
)

Compared = tuple[float, float, Interval]


class Task(NamedTuple):
    """One of `ONE_LABEL` and `SEVERAL_LABELS`.

    Attributes:
        metric: chooses a head; its name in records.
        title: the metric's name in sentences.
        suite: measures Table 1 for it.
        activation: of the head's output.
        balances: of the head's loss, tried on `val`; see `train_head`.
        quality: the metric of probabilities [N, L] and targets.
        compare: two methods' mean metrics and the interval of their difference, of probabilities [N, L] of each seed of
            either and targets.
        calibrate: of a head, features and targets of `val`; see `calibrate_by_softmax` and `calibrate_by_thresholds`.
        encoder_targets: float32 [N, L] of targets and L, for the training of a visual encoder.
        encoder_loss: of such targets and logits [N, L].
    """

    metric: str
    title: str
    suite: str
    activation: str
    balances: tuple[str, ...]
    quality: Callable[[np.ndarray, np.ndarray], float]
    compare: Callable[[Sequence[np.ndarray], Sequence[np.ndarray], np.ndarray], Compared]
    calibrate: Callable[[keras.Model, list[np.ndarray], np.ndarray], dict[str, Any]]
    encoder_targets: Callable[[np.ndarray, int], np.ndarray]
    encoder_loss: Callable[[], keras.losses.Loss]


def calibrate_by_softmax(
    head: keras.Model, features: list[np.ndarray], targets: np.ndarray
) -> dict[str, Any]:
    """Folds a calibration that is fitted on `val` into a head of one label a picture.

    Args:
        head: of `train_head`; it is changed.
        features, targets: of `val`, as of `train_head`.

    Returns:
        `temperature`, `uniform_share`, `val_ece_uncalibrated` and `val_ece`.
    """
    probabilities = probabilities_of(head, features)
    calibration = fit_calibration(probabilities, targets)
    fold_calibration(head.get_layer("context_fusion"), calibration)
    before, after = (
        expected_calibration_error(found.max(axis=1), found.argmax(axis=1) == targets)
        for found in (probabilities, calibrated(probabilities, calibration))
    )
    return {**calibration._asdict(), "val_ece_uncalibrated": before, "val_ece": after}


def calibrate_by_thresholds(
    head: keras.Model, features: list[np.ndarray], targets: np.ndarray
) -> dict[str, Any]:
    """Fits on `val` from which probability on each label of several is accepted.

    Args:
        head, features, targets: as of `calibrate_by_softmax`; the head stays as it is.

    Returns:
        The list `thresholds`, their `precision` and `val_ece`.
    """
    probabilities = probabilities_of(head, features)
    thresholds = fit_thresholds(probabilities, targets).tolist()
    ece = expected_calibration_error(probabilities, targets)
    return {"thresholds": thresholds, "precision": PRECISION, "val_ece": ece}


def _compared_by_top1(
    base: Sequence[np.ndarray], others: Sequence[np.ndarray], labels: np.ndarray
) -> Compared:
    before, after = (
        np.stack([ranks_of(p, labels) < 1 for p in some]).astype(float) for some in (base, others)
    )
    return float(before.mean()), float(after.mean()), paired_interval(after - before)


def _compared_by_map(
    base: Sequence[np.ndarray], others: Sequence[np.ndarray], targets: np.ndarray
) -> Compared:
    before, after = (np.array([mean_average_precision(p, targets) for p in some]) for some in (base, others))
    draws = [np.stack([map_draws(p, targets) for p in some]) for some in (base, others)]
    return float(before.mean()), float(after.mean()), interval_of_draws(after - before, draws[1] - draws[0])


ONE_LABEL = Task(
    metric="top1",
    title="top-1",
    suite="table1",
    activation="softmax",
    balances=BALANCES[:1],
    quality=lambda probabilities, labels: top_k_accuracy(probabilities, labels, 1),
    compare=_compared_by_top1,
    calibrate=calibrate_by_softmax,
    encoder_targets=lambda labels, num_labels: tf.one_hot(labels, num_labels).numpy(),
    encoder_loss=lambda: keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
)

SEVERAL_LABELS = Task(
    metric="map",
    title="mAP",
    suite="multi-label",
    activation="sigmoid",
    balances=BALANCES,
    quality=mean_average_precision,
    compare=_compared_by_map,
    calibrate=calibrate_by_thresholds,
    encoder_targets=lambda targets, num_labels: targets,
    # Labels that nobody verified are left out.
    encoder_loss=lambda: KnownLabels(keras.losses.BinaryCrossentropy(from_logits=True)),
)


def task_of(config: Config) -> Task:
    """The task that a run's settings ask for."""
    return SEVERAL_LABELS if config.multi_label else ONE_LABEL
