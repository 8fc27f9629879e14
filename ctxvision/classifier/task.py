"""Everything that differs between one and several labels per picture: targets, losses, metric and calibration."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras as keras

from ctxvision.classifier.calibration import Calibration, calibrated, equal_weights, fit_calibration, log_loss
from ctxvision.classifier.config import Config
from ctxvision.classifier.head import BALANCES, member_logits_of, probabilities_of
from ctxvision.classifier.thresholds import PRECISION, fit_thresholds
from ctxvision.layers import ContextFusion
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
    """The parts of a task; its two values are `ONE_LABEL` and `SEVERAL_LABELS`.

    Attributes:
        metric: name in records of the metric that chooses a head.
        title: name of the metric in sentences.
        suite: name of the suite that measures Table 1 for the task.
        activation: activation of the head's output.
        balances: balances of the head's loss that are tried on `val`; see `train_head`.
        steps: factor of `Config.head_steps`. A label among several has few positives: on `val` of three splits of the
            demo, twice the steps improved mAP by 1.5 to 5 points.
        measurable: function from targets to whether the metric exists: there are pictures, and for several labels, one
            of them has a label.
        quality: function from probabilities [N, L] and measurable targets to the metric.
        compare: function from two methods' probabilities [N, L] of each seed, and measurable targets, to both mean
            metrics and the interval of their difference.
        calibrate: function of a head, and features and targets of `val`; see `calibrate_by_softmax` and
            `calibrate_by_thresholds`.
        encoder_targets: function from targets and L to float32 [N, L], for the training of a visual encoder.
        encoder_loss: function that makes the loss of such targets and logits [N, L].
    """

    metric: str
    title: str
    suite: str
    activation: str
    balances: tuple[str, ...]
    steps: int
    measurable: Callable[[np.ndarray], bool]
    quality: Callable[[np.ndarray, np.ndarray], float]
    compare: Callable[[Sequence[np.ndarray], Sequence[np.ndarray], np.ndarray], Compared]
    calibrate: Callable[[ContextFusion, Sequence[np.ndarray], np.ndarray], dict[str, Any]]
    encoder_targets: Callable[[np.ndarray, int], np.ndarray]
    encoder_loss: Callable[[], keras.losses.Loss]


def calibrate_by_softmax(
    head: ContextFusion, features: Sequence[np.ndarray], targets: np.ndarray
) -> dict[str, Any]:
    """Fits the weights of the members of a head for one label per picture on `val`, and sets them.

    Args:
        head: a head from `train_head` or `train_pool`; it is changed.
        features, targets: of `val`, see `train_head`; without pictures the head gets `prior_calibration`.

    Returns:
        A dict of `member_weights`, a list, `uniform_share`, `val_loss` in nats, `val_ece`, and `val_ece_uncalibrated`,
        which is the error with equal weights.
    """
    logits = member_logits_of(head, features)
    calibration = _fit(head, logits, targets)
    head.uniform_share.assign(calibration.uniform_share)
    before, after = (
        _calibration_error(found.max(axis=1), found.argmax(axis=1) == targets)
        for found in (calibrated(logits, one) for one in (equal_weights(len(logits)), calibration))
    )
    facts = {"member_weights": list(calibration.weights), "uniform_share": calibration.uniform_share}
    loss = log_loss(logits, targets, calibration)
    return {**facts, "val_ece_uncalibrated": before, "val_ece": after, "val_loss": loss}


def calibrate_by_thresholds(
    head: ContextFusion, features: Sequence[np.ndarray], targets: np.ndarray
) -> dict[str, Any]:
    """Fits the weights of a head's members on `val` and sets them, and fits a threshold for each of several labels.

    Args:
        head, features, targets: see `calibrate_by_softmax`.

    Returns:
        A dict of `member_weights` and `thresholds`, lists, the thresholds' `precision`, `val_loss` in nats per
        decision, and `val_ece`.
    """
    logits = member_logits_of(head, features)
    calibration = _fit(head, logits, targets)
    probabilities = probabilities_of(head, features)
    thresholds = fit_thresholds(probabilities, targets).tolist()
    ece = _calibration_error(probabilities, targets)
    facts = {"member_weights": list(calibration.weights), "thresholds": thresholds, "precision": PRECISION}
    return {**facts, "val_ece": ece, "val_loss": log_loss(logits, targets, calibration)}


def _calibration_error(confidence: np.ndarray, correct: np.ndarray) -> float:
    """Returns the expected calibration error, 0 for no pictures."""
    return expected_calibration_error(confidence, correct) if correct.size else 0.0


def _fit(head: ContextFusion, logits: np.ndarray, targets: np.ndarray) -> Calibration:
    calibration = fit_calibration(logits, targets, terms=head.label_terms is not None)
    head.member_weights.assign(calibration.weights)
    return calibration


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
    steps=1,
    measurable=lambda labels: len(labels) > 0,
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
    steps=2,
    measurable=lambda targets: bool((targets > 0).any()),
    quality=mean_average_precision,
    compare=_compared_by_map,
    calibrate=calibrate_by_thresholds,
    encoder_targets=lambda targets, num_labels: targets,
    # Ignores labels that nobody verified.
    encoder_loss=lambda: KnownLabels(keras.losses.BinaryCrossentropy(from_logits=True)),
)


def task_of(config: Config) -> Task:
    """Returns the task of a run's settings."""
    return SEVERAL_LABELS if config.multi_label else ONE_LABEL
