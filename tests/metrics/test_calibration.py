"""Calibration error by hand and for calibrated answers."""

import numpy as np
import pytest

from ctxvision.metrics import calibration_error_by_chance, expected_calibration_error, reliability_bins


def test_by_hand():
    confidence, correct = [0.05, 0.55, 0.58, 1.0], [0, 1, 0, 1]
    bins = reliability_bins(confidence, correct, bins=10)
    assert np.flatnonzero(bins.share).tolist() == [0, 5, 9]
    np.testing.assert_allclose(bins.confidence[[0, 5, 9]], [0.05, 0.565, 1.0])
    np.testing.assert_allclose(bins.accuracy[[0, 5, 9]], [0, 0.5, 1])
    np.testing.assert_allclose(bins.share[[0, 5, 9]], [0.25, 0.5, 0.25])
    expected = 0.25 * 0.05 + 0.5 * 0.065
    assert expected_calibration_error(confidence, correct, bins=10) == pytest.approx(expected)


def test_fifteen_bins_of_equal_width():
    bins = reliability_bins(np.linspace(0, 1, 1500, endpoint=False), np.zeros(1500))
    np.testing.assert_allclose(bins.share, np.full(15, 1 / 15), atol=1e-3)


def test_probabilities_that_come_true_and_such_that_do_not():
    rng = np.random.default_rng(0)
    confidence = rng.random([20000, 2])
    assert expected_calibration_error(confidence, rng.random([20000, 2]) < confidence) < 0.01
    assert expected_calibration_error(confidence, rng.random([20000, 2]) < confidence**2) == pytest.approx(
        1 / 2 - 1 / 3, abs=0.01
    )


def test_chance_shrinks_with_the_root_of_the_number():
    assert calibration_error_by_chance(np.ones(50)) == 0
    few, many = (calibration_error_by_chance(np.full(n, 0.5)) for n in (100, 10000))
    assert few == pytest.approx(np.sqrt(2 / np.pi) * 0.5 / 10, rel=0.15)  # mean absolute error of a mean
    assert many == pytest.approx(few / 10, rel=0.3)


def test_logits_are_refused():
    with pytest.raises(ValueError, match=r"confidence must lie in 0\.\.1, got -1\.0\.\.2\.0"):
        expected_calibration_error([-1.0, 2.0], [0, 1])
