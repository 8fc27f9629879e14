"""The bootstrap interval against the known spread of a mean."""

import numpy as np
import pytest

from ctxvision.metrics import paired_interval


def test_width_is_that_of_the_normal_approximation():
    values = np.random.default_rng(0).normal(0.2, 1.0, 4000)
    found = paired_interval(np.stack([values] * 3))
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert found.mean == pytest.approx(values.mean(), abs=1e-6)
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.08)
    assert found.low < found.mean < found.high


def test_seeds_that_differ_widen_it():
    pictures = np.random.default_rng(0).normal(0, 0.1, 4000)
    same, apart = (np.stack([pictures + shift for shift in shifts]) for shifts in ([0, 0, 0], [-1, 0, 1]))
    narrow, wide = paired_interval(same), paired_interval(apart)
    assert wide.high - wide.low > 5 * (narrow.high - narrow.low)
    assert wide.low < 0 < wide.high


def test_coverage_of_the_true_mean():
    rng = np.random.default_rng(1)
    intervals = [paired_interval(rng.normal(0.1, 1, [1, 300]), draws=300) for _ in range(200)]
    assert 0.9 <= np.mean([one.low <= 0.1 <= one.high for one in intervals]) <= 0.99


@pytest.mark.parametrize("bad", [np.zeros([0, 3]), np.zeros([3, 0]), np.zeros(3), [[np.nan]]])
def test_what_is_no_matrix_of_numbers_is_refused(bad):
    with pytest.raises(ValueError, match="differences must be finite numbers"):
        paired_interval(bad)
