"""Thresholds reach the wanted precision on pictures on which they were not fitted."""

import numpy as np
import pytest

from ctxvision.classifier.thresholds import fit_thresholds
from ctxvision.metrics import recall_at_precision


def draw(rng, pictures, labels=30, lift=0.0):
    """Draws probabilities and their true labels; `lift` raises the logits of the probabilities."""
    logits = rng.normal(-2.5, 2.0, [pictures, labels])
    true = 1 / (1 + np.exp(-logits))
    said = 1 / (1 + np.exp(-(logits + lift)))
    return said.astype(np.float32), (rng.random(true.shape) < true).astype(np.float32)


def precision_of(thresholds, probabilities, targets):
    return targets[probabilities >= thresholds].mean()


@pytest.mark.parametrize("lift", [0.0, 1.0])
@pytest.mark.parametrize("wanted", [0.7, 0.9])
def test_the_wanted_precision_is_reached_on_other_pictures(wanted, lift):
    rng = np.random.default_rng(0)
    thresholds = fit_thresholds(*draw(rng, 600, lift=lift), wanted)
    new = draw(rng, 4000, lift=lift)
    assert precision_of(thresholds, *new) == pytest.approx(wanted, abs=0.04)
    reached = new[1][new[0] >= thresholds].sum() / new[1].sum()
    assert reached > 0.6 * recall_at_precision(*new, wanted)


def test_each_label_gets_its_own_threshold_with_enough_pictures():
    rng = np.random.default_rng(0)
    (low, right), (high, wrong) = draw(rng, 3000, 1), draw(rng, 3000, 1, lift=2.0)
    first, second = fit_thresholds(np.hstack([low, high]), np.hstack([right, wrong]))
    assert first + 0.1 < second


def test_a_label_without_pictures_in_val_is_not_accepted_there():
    probabilities, targets = draw(np.random.default_rng(0), 400, 5)
    targets[:, 3] = 0
    thresholds = fit_thresholds(probabilities, targets)
    assert thresholds[3] > probabilities[:, 3].max() or thresholds[3] == 1.0
    assert (thresholds <= 1).all()


def test_no_positives_and_no_pictures():
    assert fit_thresholds(np.full([4, 2], 0.5), np.zeros([4, 2])).tolist() == [1.0, 1.0]
    assert fit_thresholds(np.zeros([0, 2]), np.zeros([0, 2])).tolist() == [1.0, 1.0]
    assert fit_thresholds(np.full([1, 2], 0.5), np.ones([1, 2])).tolist() == [0.5, 0.5]
