"""Weighted cross-entropy against its equation, and its effect on the best logit."""

import numpy as np
import pytest
import tensorflow as tf

from ctxvision.losses import WeightedCrossEntropy


def test_the_equation():
    rng = np.random.default_rng(0)
    truth, p, w = rng.integers(0, 2, [6, 3]), rng.uniform(0.05, 0.95, [6, 3]), np.array([1.0, 2.0, 20.0])
    expected = -(w * truth * np.log(p) + (1 - truth) * np.log(1 - p)).mean()
    assert float(WeightedCrossEntropy(w)(truth, p)) == pytest.approx(expected, rel=1e-5)


def test_the_best_logit_lies_log_w_too_high():
    truth = np.array([[1.0]] * 2 + [[0.0]] * 8)
    p = np.linspace(0.01, 0.99, 981)
    loss = WeightedCrossEntropy([3.0])
    best = p[np.argmin([float(loss(truth, np.full([10, 1], one))) for one in p])]
    assert np.log(best / (1 - best)) - np.log(3) == pytest.approx(np.log(0.2 / 0.8), abs=0.01)


def test_certain_and_wrong_is_finite_and_config_survives():
    loss = WeightedCrossEntropy([2.0, 1.0])
    assert np.isfinite(float(loss([[1.0, 0.0]], [[0.0, 1.0]])))
    again = WeightedCrossEntropy.from_config(loss.get_config())
    assert again.positive_weights == [2.0, 1.0]
    assert float(again([[1.0, 0.0]], tf.constant([[0.3, 0.2]]))) == float(loss([[1.0, 0.0]], [[0.3, 0.2]]))


@pytest.mark.parametrize("weights", [[], [1.0, 0.0]])
def test_bad_weights(weights):
    with pytest.raises(ValueError, match="positive_weights must be numbers above 0"):
        WeightedCrossEntropy(weights)
