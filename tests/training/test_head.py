"""Heads over features: what balances do, and what is refused."""

import numpy as np
import pytest

from ctxvision.metrics import expected_calibration_error
from ctxvision.training.head import BALANCES, probabilities_of, train_head


@pytest.fixture(scope="module")
def rare():
    """Features [N, 4] of which two say, not for sure, whether a common and a rare label are there."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(1500, 4)).astype(np.float32)
    chances = 1 / (1 + np.exp(-(2 * features[:, :2] - [0.0, 3.5])))
    return features, (rng.random(chances.shape) < chances).astype(np.float32)


@pytest.mark.parametrize("balance", BALANCES)
def test_several_labels_are_learnt_each_on_its_own(rare, balance):
    features, targets = rare
    head = train_head([features], targets, 2, 300, 0, balance, hidden=16)
    found = probabilities_of(head, [features])
    assert head.get_layer("context_fusion").activation == "sigmoid"
    assert np.abs(found.sum(axis=1) - 1).mean() > 0.05
    assert (np.corrcoef(found.T, features[:, :2].T)[:2, 2:].diagonal() > 0.5).all()


def test_what_positive_weights_add_is_taken_off(rare):
    """Rare positives weigh eleven times as much, and still the probabilities come true."""
    features, targets = rare
    assert (targets[:, 1] == 0).sum() / targets[:, 1].sum() > 8
    head = train_head([features], targets, 2, 600, 0, "positive_weight", hidden=16)
    found = probabilities_of(head, [features])
    assert expected_calibration_error(found[:, 1], targets[:, 1]) < 0.05
    assert found[:, 1].mean() == pytest.approx(targets[:, 1].mean(), abs=0.04)


def test_a_label_without_positives_is_no_error(rare):
    features, targets = rare
    head = train_head([features], targets * [1, 0], 2, 20, 0, "positive_weight", hidden=16)
    assert np.isfinite(probabilities_of(head, [features])).all()


def test_bad_input(rare):
    features, targets = rare
    with pytest.raises(ValueError, match="balance must be one of none, positive_weight, focal, got 'x'"):
        train_head([features], targets, 2, 1, 0, "x")
    with pytest.raises(ValueError, match="features must be finite, got 1 rows of modality 0"):
        train_head([np.array([[np.inf]])], targets[:1], 2, 1, 0)
