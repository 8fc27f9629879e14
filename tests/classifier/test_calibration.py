"""Calibration of answers whose right calibration is known."""

import numpy as np
import pytest

from ctxvision.classifier.calibration import (
    LARGEST_WEIGHT,
    Calibration,
    calibrated,
    equal_weights,
    fit_calibration,
    log_loss,
    prior_calibration,
)
from ctxvision.metrics import expected_calibration_error


def softmax(logits):
    return calibrated(logits, equal_weights(len(logits)))


@pytest.fixture
def logits():
    """Three members; the last one knows nothing beyond the other two."""
    return np.random.default_rng(0).normal(0, 4, [3, 4000, 6])


def drawn(probabilities, seed=1):
    rng = np.random.default_rng(seed)
    return np.array([rng.choice(probabilities.shape[1], p=row) for row in probabilities])


@pytest.mark.parametrize("weights", [(0.5, 0.25, 0.0), (1.0, 0.0, 0.0), (0.2, 0.2, 0.2)])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.3])
def test_the_weights_that_drew_the_labels_are_found(logits, weights, share):
    labels = drawn(calibrated(logits, Calibration(weights, share)))
    found = fit_calibration(logits, labels)
    np.testing.assert_allclose(found.weights, weights, atol=0.06)
    assert found.uniform_share == pytest.approx(share, abs=0.04)
    said = calibrated(logits, found)
    np.testing.assert_allclose(said.sum(axis=1), 1)
    assert expected_calibration_error(said.max(axis=1), said.argmax(axis=1) == labels) < 0.025
    # Slightly larger or smaller values are less likely.
    for member in range(3):
        for step in (-0.01, 0.01):
            other = np.maximum(0, np.array(found.weights) + step * (np.arange(3) == member))
            changed = found._replace(weights=tuple(other))
            assert log_loss(logits, labels, found) <= log_loss(logits, labels, changed) + 5e-5
    for step in (-0.01, 0.01):
        changed = found._replace(uniform_share=max(0, found.uniform_share + step))
        assert log_loss(logits, labels, found) <= log_loss(logits, labels, changed) + 1e-6


def test_one_member_gets_a_temperature(logits):
    labels = drawn(softmax(logits[:1] / 2.5))
    assert fit_calibration(logits[:1], labels).weights[0] == pytest.approx(1 / 2.5, rel=0.1)


def test_each_decision_of_several_labels_counts(logits):
    weights = (0.3, 0.1, 0.0)
    chances = calibrated(logits, Calibration(weights), several=True)
    targets = (np.random.default_rng(2).random(chances.shape) < chances).astype(float)
    found = fit_calibration(logits, targets)
    np.testing.assert_allclose(found.weights, weights, atol=0.02)
    assert found.uniform_share == 0
    # Unknown targets have no influence, whatever their logits are.
    unknown = np.where(np.arange(6) == 2, -1, targets)
    odd = logits.copy()
    odd[:, :, 2] = 1e3
    np.testing.assert_allclose(fit_calibration(odd, unknown).weights, weights, atol=0.03)


def test_a_few_wrong_labels_do_not_lower_confidence_in_the_others(logits):
    labels = softmax(logits[:1]).argmax(axis=1)
    labels[:200] = np.random.default_rng(2).integers(0, 6, 200)
    found = fit_calibration(logits[:1], labels)
    assert found.weights[0] > 1 and found.uniform_share == pytest.approx(0.05, abs=0.02)


def test_no_pictures_and_only_right_answers(logits):
    assert fit_calibration(np.zeros([2, 0, 3]), np.zeros(0, int)) == prior_calibration(2)
    assert fit_calibration(np.zeros([2, 4, 3]), -np.ones([4, 3])) == prior_calibration(2)
    weights, share = fit_calibration(logits[:1], logits[0].argmax(axis=1))
    assert 3 < weights[0] <= LARGEST_WEIGHT and share == 0
    assert np.isfinite(calibrated(logits[:1], Calibration(weights))).all()


def test_few_pictures_leave_the_weights_near_the_prior(logits):
    labels = logits[0].argmax(axis=1)  # only the first member is right
    prior = prior_calibration(3, terms=True)
    assert prior.weights == (0.35, 0.35, 2.5) and prior_calibration(1).weights == (1.0,)
    distances = []
    for number in (1, 10, 100, 1000):
        found = fit_calibration(logits[:, :number], labels[:number], terms=True)
        distances.append(found.weights[1])
    assert distances[0] == pytest.approx(0.35, abs=0.3) and distances[-1] < 0.1
    assert all(np.isfinite(fit_calibration(logits[:, :1], labels[:1]).weights))


def test_a_val_of_one_label_gives_finite_weights(logits):
    found = fit_calibration(logits[:, :50], np.zeros(50, int))
    assert max(found.weights) < 10


def test_logits_that_are_not_finite(logits):
    logits[1, 3, 2] = np.nan
    with pytest.raises(ValueError, match=r"logits must be finite, got NaN or infinity from member \[1\]"):
        fit_calibration(logits, np.zeros(4000, int))


def test_members_that_are_wrong_keep_the_order_of_the_labels(logits):
    found = fit_calibration(-logits[:1], logits[0].argmax(axis=1))
    assert found.weights == (0.01,)
    assert (calibrated(-logits[:1], found).argmax(axis=1) == (-logits[0]).argmax(axis=1)).all()


def test_uninformative_answers(logits):
    labels = np.random.default_rng(3).integers(0, 6, 4000)
    assert calibrated(logits, fit_calibration(logits, labels)).max() < 0.25


def test_loss_by_hand():
    logits = np.log([[[0.25, 0.75], [0.5, 0.5]]])
    assert log_loss(logits, np.array([1, 0]), Calibration((1.0,))) == pytest.approx(
        -np.log([0.75, 0.5]).mean()
    )
    targets = np.array([[1, -1], [0, -1]])
    assert log_loss(np.zeros([1, 2, 2]), targets, Calibration((1.0,))) == pytest.approx(np.log(2))
