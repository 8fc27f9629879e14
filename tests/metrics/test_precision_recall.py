"""Precision and recall, counted by hand and by brute force."""

import numpy as np
import pytest

from ctxvision.metrics import precision_at_recall, precision_recall_curve, recall_at_precision

SCORES, TARGETS = [0.9, 0.8, 0.8, 0.4, 0.1], [1, 1, 0, 0, 1]


def test_by_hand():
    precision, recall, threshold = precision_recall_curve(SCORES, TARGETS)
    np.testing.assert_allclose(threshold, [0.9, 0.8, 0.4, 0.1])
    np.testing.assert_allclose(precision, [1, 2 / 3, 1 / 2, 3 / 5])
    np.testing.assert_allclose(recall, [1 / 3, 2 / 3, 2 / 3, 1])
    assert recall_at_precision(SCORES, TARGETS, 0.65) == pytest.approx(2 / 3)
    assert recall_at_precision(SCORES, TARGETS, 0.7) == pytest.approx(1 / 3)
    assert recall_at_precision([0.9, 0.1], [0, 1]) == 0.0
    # The precision at a recall is the best precision of a threshold with at least that recall.
    np.testing.assert_allclose(
        precision_at_recall(SCORES, TARGETS, [0.1, 1 / 3, 0.5, 0.7, 1]), [1, 1, 2 / 3, 0.6, 0.6]
    )


def test_any_shape_against_brute_force():
    rng = np.random.default_rng(0)
    scores, targets = rng.integers(0, 20, [30, 4]) / 20, rng.random([30, 4]) < 0.3
    precision, recall, threshold = precision_recall_curve(scores, targets)
    for p, r, t in zip(precision, recall, threshold, strict=True):
        accepted = scores >= t
        assert p == pytest.approx(targets[accepted].mean())
        assert r == pytest.approx(targets[accepted].sum() / targets.sum())
    assert len(threshold) == len(np.unique(scores))


def test_no_positive():
    with pytest.raises(ValueError, match="at least one positive"):
        precision_recall_curve([0.5], [0])
