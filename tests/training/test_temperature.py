"""Temperature scaling of answers whose right temperature is known."""

import numpy as np
import pytest
import tensorflow as tf

from ctxvision.layers import ContextFusion
from ctxvision.metrics import expected_calibration_error
from ctxvision.training.temperature import at_temperature, fit_temperature, fold_temperature


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.fixture
def logits():
    return np.random.default_rng(0).normal(0, 2, [4000, 6])


@pytest.mark.parametrize("truth", [0.5, 1.0, 2.5])
def test_the_temperature_that_drew_the_labels_is_found(logits, truth):
    rng = np.random.default_rng(1)
    labels = np.array([rng.choice(6, p=row) for row in softmax(logits / truth)])
    found = fit_temperature(softmax(logits), labels)
    assert found == pytest.approx(truth, rel=0.06)
    scaled = at_temperature(softmax(logits), found)
    assert expected_calibration_error(scaled.max(axis=1), scaled.argmax(axis=1) == labels) < 0.02
    # No other temperature has a lower cross-entropy.
    loss = {
        t: -np.log(softmax(logits / t)[np.arange(4000), labels]).mean()
        for t in (found * 0.97, found, found * 1.03)
    }
    assert min(loss, key=loss.get) == found


def test_nothing_to_fit_on_and_answers_that_are_all_right(logits):
    assert fit_temperature(np.zeros([0, 3]), np.zeros(0, int)) == 1.0
    sure = fit_temperature(softmax(logits), logits.argmax(axis=1))
    assert 0.01 <= sure < 0.1 and np.isfinite(at_temperature(softmax(logits), sure)).all()


@pytest.mark.parametrize("fusion", ["concat", "mlb"])
def test_folded_into_the_head(fusion):
    head = ContextFusion(4, hidden=8, fusion=fusion)
    inputs = [tf.random.normal([5, 3], seed=1), tf.random.normal([5, 2], seed=2)]
    before = head(inputs).numpy()
    fold_temperature(head, 2.0)
    np.testing.assert_allclose(head(inputs), at_temperature(before, 2.0), rtol=1e-4, atol=1e-6)
