"""Unknown targets (-1) do not count: the metrics equal those without these decisions."""

import numpy as np
import pytest

from ctxvision.classifier.thresholds import fit_thresholds
from ctxvision.metrics import (
    average_precision,
    expected_calibration_error,
    map_draws,
    precision_recall_curve,
    recall_at_precision,
)


@pytest.fixture
def decisions():
    rng = np.random.default_rng(0)
    scores, targets = rng.random([60, 3]), rng.integers(0, 2, [60, 3]).astype(float)
    known = rng.random([60, 3]) < 0.6
    return scores, np.where(known, targets, -1), known


def test_average_precision_of_each_label(decisions):
    scores, targets, known = decisions
    expected = [
        average_precision(s[k][:, None], t[k][:, None])[0] for s, t, k in zip(scores.T, targets.T, known.T)
    ]
    np.testing.assert_allclose(average_precision(scores, targets), expected)
    # By hand: 0.9 right, 0.8 unknown, 0.7 wrong, 0.6 right: precisions 1 and 2/3.
    assert average_precision([[0.9], [0.8], [0.7], [0.6]], [[1], [-1], [0], [1]])[0] == pytest.approx(5 / 6)
    assert np.isfinite(map_draws(scores, targets, draws=5)).all()


def test_curves_and_calibration_over_all_decisions(decisions):
    scores, targets, known = decisions
    for metric in (precision_recall_curve, recall_at_precision, expected_calibration_error):
        np.testing.assert_allclose(metric(scores, targets), metric(scores[known], targets[known]))


def test_thresholds_do_not_depend_on_what_is_unknown(decisions):
    scores, targets, _ = decisions
    other = np.where(targets < 0, 0.5, scores)
    assert fit_thresholds(scores, targets).shape == (3,)
    reached = targets[(scores >= fit_thresholds(scores, targets)) & (targets >= 0)]
    assert not len(reached) or reached.mean() > 0.6
    np.testing.assert_allclose(fit_thresholds(other, targets), fit_thresholds(scores, targets))


def test_other_targets_are_refused(decisions):
    with pytest.raises(ValueError, match="targets must be 0, 1 or -1, got 2"):
        average_precision([[0.5]], [[2]])
