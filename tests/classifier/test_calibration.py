"""Answers whose right calibration is known."""

import numpy as np
import pytest
import tensorflow as tf

from ctxvision.classifier.calibration import Calibration, calibrated, fit_calibration, fold_calibration
from ctxvision.layers import ContextFusion
from ctxvision.metrics import expected_calibration_error


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.fixture
def logits():
    return np.random.default_rng(0).normal(0, 2, [4000, 6])


def loss(probabilities, labels):
    return -np.log(probabilities[np.arange(len(labels)), labels]).mean()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.3])
def test_what_drew_the_labels_is_found(logits, temperature, share):
    rng, logits = np.random.default_rng(1), 2 * logits  # of flat answers the two parts look alike
    truth = (1 - share) * softmax(logits / temperature) + share / 6
    labels = np.array([rng.choice(6, p=row) for row in truth])
    found = fit_calibration(softmax(logits), labels)
    assert found.temperature == pytest.approx(temperature, rel=0.1)
    assert found.uniform_share == pytest.approx(share, abs=0.04)
    said = calibrated(softmax(logits), found)
    np.testing.assert_allclose(said.sum(axis=1), 1)
    assert expected_calibration_error(said.max(axis=1), said.argmax(axis=1) == labels) < 0.025
    # Neither a little more nor a little less of either is likelier.
    for other in (
        found._replace(temperature=found.temperature * 0.97),
        found._replace(temperature=found.temperature * 1.03),
        found._replace(uniform_share=max(0, found.uniform_share - 0.01)),
        found._replace(uniform_share=found.uniform_share + 0.01),
    ):
        assert loss(said, labels) <= loss(calibrated(softmax(logits), other), labels)


def test_a_few_wrong_labels_do_not_make_it_doubt_the_others(logits):
    sure = softmax(3 * logits)
    labels = sure.argmax(axis=1)
    labels[:200] = np.random.default_rng(2).integers(0, 6, 200)
    found = fit_calibration(sure, labels)
    assert found.temperature < 1 and found.uniform_share == pytest.approx(0.05, abs=0.02)


def test_nothing_to_fit_on_and_answers_that_are_all_right(logits):
    assert fit_calibration(np.zeros([0, 3]), np.zeros(0, int)) == Calibration(1.0, 0.0)
    temperature, share = fit_calibration(softmax(logits), logits.argmax(axis=1))
    assert 0.01 <= temperature < 0.1 and share == 0
    assert np.isfinite(calibrated(softmax(logits), Calibration(temperature))).all()


def test_answers_that_say_nothing(logits):
    labels = np.random.default_rng(3).integers(0, 6, 4000)
    said = calibrated(softmax(logits), fit_calibration(softmax(logits), labels))
    assert said.max() < 0.25


@pytest.mark.parametrize("fusion", ["concat", "mlb"])
def test_folded_into_the_head(fusion):
    head = ContextFusion(4, hidden=8, fusion=fusion)
    inputs = [tf.random.normal([5, 3], seed=1), tf.random.normal([5, 2], seed=2)]
    before = head(inputs).numpy()
    fold_calibration(head, Calibration(2.0, 0.1))
    np.testing.assert_allclose(head(inputs), calibrated(before, Calibration(2.0, 0.1)), rtol=1e-4, atol=1e-6)
