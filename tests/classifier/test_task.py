"""Differences between one and several labels per picture."""

import numpy as np
import pytest

import ctxvision as cv
from ctxvision.classifier.calibration import Calibration, calibrated, log_loss
from ctxvision.classifier.head import member_logits_of, probabilities_of, train_head
from ctxvision.classifier.task import ONE_LABEL, SEVERAL_LABELS, task_of


@pytest.fixture(scope="module")
def noisy():
    """Features [300, 5] whose first three columns give the label of most rows; a quarter of the labels are wrong."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300).astype(np.int32)
    features = rng.normal(0, 0.3, (300, 5)).astype(np.float32)
    features[np.arange(300), labels] += 1
    labels[:75] = rng.integers(0, 3, 75)
    return features, labels


def test_the_settings_choose_the_task():
    assert task_of(cv.Config()) is ONE_LABEL and task_of(cv.Config(multi_label=True)) is SEVERAL_LABELS


def test_what_can_be_measured():
    assert ONE_LABEL.measurable(np.array([0])) and not ONE_LABEL.measurable(np.zeros(0, int))
    assert SEVERAL_LABELS.measurable(np.array([[0, 0], [0, 1]]))
    for targets in (np.zeros([0, 2]), np.zeros([3, 2]), np.array([[0, -1]])):
        assert not SEVERAL_LABELS.measurable(targets)


def test_calibration_of_a_head_of_one_label_is_returned(noisy):
    features, labels = noisy
    head = train_head([features[::2]], labels[::2], 3, steps=300, seed=0)
    before = member_logits_of(head, [features[1::2]])
    told = ONE_LABEL.calibrate(head, [features[1::2]], labels[1::2])
    assert told["member_weights"] != [1] and told["val_ece"] < told["val_ece_uncalibrated"]
    expected = calibrated(before, Calibration(tuple(told["member_weights"]), told["uniform_share"]))
    np.testing.assert_allclose(probabilities_of(head, [features[1::2]]), expected, atol=1e-5)


def test_a_head_of_several_labels_is_calibrated_and_gets_thresholds(noisy):
    features, labels = noisy
    targets = np.eye(3, dtype=np.float32)[labels]
    head = train_head([features[::2]], targets[::2], 3, steps=100, seed=0)
    logits = member_logits_of(head, [features[1::2]])
    told = SEVERAL_LABELS.calibrate(head, [features[1::2]], targets[1::2])
    assert len(told["thresholds"]) == 3 and told["precision"] == 0.8
    found = probabilities_of(head, [features[1::2]])
    expected = calibrated(logits, Calibration(tuple(told["member_weights"])), several=True)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert told["val_loss"] < log_loss(logits, targets[1::2], Calibration((1.0,)))


@pytest.mark.parametrize("task", [ONE_LABEL, SEVERAL_LABELS])
def test_two_methods_are_compared_by_the_tasks_metric(task):
    right, wrong = np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32)[::-1]
    targets = np.arange(2) if task is ONE_LABEL else np.eye(2)
    assert task.quality(right, targets) == 1
    low, high = task.quality(wrong, targets), 1.0
    before, after, gain = task.compare([wrong, wrong], [right, right], targets)
    assert (before, after, gain.mean) == (low, high, high - low) and low < 0.6


@pytest.mark.parametrize("task", [ONE_LABEL, SEVERAL_LABELS])
def test_the_loss_of_an_encoder_takes_logits(task):
    targets = task.encoder_targets(np.array([0, 1]) if task is ONE_LABEL else np.eye(2, dtype=np.float32), 2)
    np.testing.assert_array_equal(targets, np.eye(2))
    good, bad = (
        task.encoder_loss()(targets, 4 * np.eye(2) - 2),
        task.encoder_loss()(targets, 2 - 4 * np.eye(2)),
    )
    assert good < 0.3 < bad
