"""Spearman's correlation, by hand."""

import numpy as np
import pytest

from ctxvision.metrics import spearman


def test_monotone_and_by_hand():
    assert spearman([1, 5, 30], [0.1, 0.2, 100]) == pytest.approx(1)
    assert spearman([1, 5, 30], [3, 2, -9]) == pytest.approx(-1)
    # 1 - 6 * sum(d^2) / (n * (n^2 - 1)), with d = 1, 1, 0, 2, 2
    assert spearman([1, 2, 3, 4, 5], [2, 1, 3, 6, 4]) == pytest.approx(1 - 6 * 4 / 120)


def test_equal_values_share_their_rank():
    ranks, other = [1.5, 1.5, 3], [2, 1, 3]
    assert spearman([7, 7, 9], [20, 10, 30]) == pytest.approx(np.corrcoef(ranks, other)[0, 1])


@pytest.mark.parametrize("bad", [[1, 1, 1], [1, 2], [1, 2, np.nan], [[1, 2, 3]]])
def test_bad_input(bad):
    with pytest.raises(ValueError, match="first and second must"):
        spearman(bad, [1, 2, 3])
