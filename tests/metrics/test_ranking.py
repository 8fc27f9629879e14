"""Ranks by hand and by sorting."""

import numpy as np
import pytest

from ctxvision.metrics import filtered_ranks, mean_reciprocal_rank, word_overlap


def test_reciprocal_rank_by_hand():
    hits = np.array([[0, 0, 1, 1], [1, 0, 0, 0], [0, 0, 0, 0]], bool)
    assert mean_reciprocal_rank(hits) == pytest.approx((1 / 3 + 1 + 0) / 3)


@pytest.mark.parametrize("hits", [[[0, 1]], [True], np.zeros([0, 3], bool)])
def test_reciprocal_rank_refuses(hits):
    with pytest.raises(ValueError, match=r"hits must be a bool matrix \[N, K\]"):
        mean_reciprocal_rank(hits)


def test_filtered_ranks_against_sorting():
    rng = np.random.default_rng(0)
    scores, targets = rng.random([20, 30]), rng.integers(0, 30, 20)
    others = [rng.permutation(30)[:8].tolist() for _ in range(20)]
    expected = []
    for line, target, left_out in zip(scores, targets, others):
        order = [c for c in np.argsort(-line) if c == target or c not in left_out]
        expected.append(order.index(target))
    assert filtered_ranks(scores, targets, others).tolist() == expected


def test_equal_scores_count_half():
    assert filtered_ranks([[0.5, 0.5, 0.5, 0.9]], [0], [[]]).tolist() == [2.0]


@pytest.mark.parametrize(
    ("scores", "targets", "others"), [([[0.1]], [0], []), ([[np.nan]], [0], [[]]), ([0.1], [0], [[]])]
)
def test_filtered_ranks_refuses(scores, targets, others):
    with pytest.raises(ValueError, match=r"scores must be \[N, C\] without NaN, with N targets and N others"):
        filtered_ranks(scores, targets, others)


@pytest.mark.parametrize(
    ("phrase", "other", "overlap"),
    [
        ({"red", "fox"}, {"fox", "den"}, 1 / 3),
        (set(), {"fox"}, 0.0),
        (set(), set(), 0.0),
        ({"a"}, {"a"}, 1.0),
    ],
)
def test_word_overlap(phrase, other, overlap):
    assert word_overlap(phrase, other) == pytest.approx(overlap)
