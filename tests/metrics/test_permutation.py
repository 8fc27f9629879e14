import itertools

import numpy as np
import pytest

from ctxvision.metrics import sign_flip_p_value


def test_it_is_near_the_share_of_all_sign_flips():
    values = np.random.default_rng(0).normal(0.4, 1, 10)
    sums = [abs(np.dot(signs, values)) for signs in itertools.product((1, -1), repeat=10)]
    exact = np.mean(np.array(sums) >= abs(values.sum()) - 1e-12)
    assert sign_flip_p_value(values, draws=20000) == pytest.approx(exact, abs=0.01)
    assert sign_flip_p_value(-values, draws=20000) == sign_flip_p_value(values, draws=20000)


def test_its_ends():
    assert sign_flip_p_value(np.ones(200), draws=999) == 0.001
    assert sign_flip_p_value([0.0, 0.0]) == 1.0 and sign_flip_p_value([0.3, -0.3]) == 1.0


@pytest.mark.parametrize("values", [[], [[1.0]], [np.nan], 3.0])
def test_bad_differences(values):
    with pytest.raises(ValueError, match=r"differences must be finite numbers \[N\], got shape"):
        sign_flip_p_value(values)
