"""Heads over features: the effect of balances, and refused input."""

from collections import OrderedDict

import numpy as np
import pytest

from ctxvision.classifier import head as module
from ctxvision.classifier.head import BALANCES, probabilities_of, train_head
from ctxvision.metrics import expected_calibration_error


@pytest.fixture(scope="module")
def rare():
    """Features [N, 4], two of which indicate a common and a rare label, with noise."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(1500, 4)).astype(np.float32)
    chances = 1 / (1 + np.exp(-(2 * features[:, :2] - [0.0, 3.5])))
    return features, (rng.random(chances.shape) < chances).astype(np.float32)


@pytest.mark.parametrize("balance", BALANCES)
def test_each_of_several_labels_is_learnt_on_its_own(rare, balance):
    features, targets = rare
    head = train_head([features], targets, 2, 300, 0, balance, hidden=16)
    found = probabilities_of(head, [features])
    assert head.activation == "sigmoid"
    assert np.abs(found.sum(axis=1) - 1).mean() > 0.05
    assert (np.corrcoef(found.T, features[:, :2].T)[:2, 2:].diagonal() > 0.5).all()


def test_the_bias_of_positive_weights_is_subtracted(rare):
    """Rare positives have weight eleven, and the probabilities are still calibrated."""
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


def weights_of(rare, seed, **settings):
    features, targets = rare
    settings = {"steps": 40, "hidden": 16, **settings}
    return train_head([features], targets, 2, seed=seed, **settings).get_weights()


@pytest.mark.parametrize("fewest", [1, 10_000], ids=["compiled by XLA", "as it is"])
def test_a_head_does_not_depend_on_earlier_heads(rare, monkeypatch, fewest):
    """Weights, dropout and the optimizer of the shared model are reset for each head."""
    monkeypatch.setattr(module, "FEWEST_COMPILED", fewest)
    module._compiled.cache_clear()
    monkeypatch.setattr(module, "_remembered", OrderedDict())
    alone = weights_of(rare, 1)
    module._compiled.cache_clear()
    module._remembered.clear()
    other = weights_of(rare, 0)
    after = weights_of(rare, 1)
    for a, b in zip(alone, after, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(alone[0], other[0])


def test_no_head_is_trained_twice_and_equal_shapes_share_a_model(rare, monkeypatch):
    monkeypatch.setattr(module, "_remembered", OrderedDict())
    fitted, fit = [], module.fit

    def counting(model, batches):
        fitted.append(model)
        return fit(model, batches)

    monkeypatch.setattr(module, "fit", counting)
    first, again = weights_of(rare, 0), weights_of(rare, 0)
    assert len(fitted) == 1 and all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    weights_of(rare, 1)
    assert len(fitted) == 2 and fitted[0] is fitted[1]
    features, targets = rare
    weights_of((features + 1, targets), 1)
    weights_of((features, 1 - targets), 1)
    assert len(fitted) == 4
    weights_of(rare, 1, hidden=8)
    assert fitted[-1] is not fitted[0]


def test_changes_to_a_returned_head_are_not_remembered(rare):
    features, targets = rare
    head = train_head([features], targets, 2, 40, 0, hidden=16)
    head.members[0].output_stage.bias.assign([9.0, 9.0])
    again = train_head([features], targets, 2, 40, 0, hidden=16)
    assert np.abs(again.members[0].output_stage.bias).max() < 9


def test_the_number_of_remembered_heads_is_limited(rare, monkeypatch):
    monkeypatch.setattr(module, "_remembered", OrderedDict())
    monkeypatch.setattr(module, "MOST_REMEMBERED", 2)
    for seed in range(4):
        weights_of(rare, seed, steps=1)
    assert len(module._remembered) == 2


def test_bad_input(rare):
    features, targets = rare
    with pytest.raises(ValueError, match="balance must be one of none, positive_weight, focal, got 'x'"):
        train_head([features], targets, 2, 1, 0, "x")
    with pytest.raises(ValueError, match="features must be finite, got 1 rows of modality 0"):
        train_head([np.array([[np.inf]])], targets[:1], 2, 1, 0)
