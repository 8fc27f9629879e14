"""Average precision against its definition, by brute force over thresholds."""

import numpy as np
import pytest

from ctxvision.metrics import average_precision, interval_of_draws, map_draws, mean_average_precision


def by_definition(scores, targets):
    """Sum over falling thresholds of precision times the recall gained there."""
    area = recall = 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        accepted = scores >= threshold
        now = targets[accepted].sum() / targets.sum()
        area, recall = area + (now - recall) * targets[accepted].mean(), now
    return area


@pytest.fixture
def answers():
    rng = np.random.default_rng(0)
    return rng.integers(0, 12, [60, 5]) / 12, (rng.random([60, 5]) < 0.3).astype(float)


def test_ties_and_all(answers):
    scores, targets = answers
    expected = [by_definition(s, t) for s, t in zip(scores.T, targets.T)]
    np.testing.assert_allclose(average_precision(scores, targets), expected, rtol=1e-6)
    assert mean_average_precision(scores, targets) == pytest.approx(np.mean(expected))


def test_a_constant_score_is_chance_and_a_label_without_positives_is_left_out():
    targets = np.array([[1, 0], [0, 0], [0, 0], [1, 0]])
    found = average_precision(np.ones([4, 2]), targets)
    assert found[0] == pytest.approx(0.5) and np.isnan(found[1])
    assert mean_average_precision(np.ones([4, 2]), targets) == pytest.approx(0.5)


def test_weights_are_repetitions(answers):
    scores, targets = answers
    times = np.random.default_rng(1).integers(0, 3, [4, 60])
    for drawn, weights in zip(average_precision(scores, targets, times), times):
        repeated = np.repeat(scores, weights, axis=0), np.repeat(targets, weights, axis=0)
        np.testing.assert_allclose(drawn, average_precision(*repeated), rtol=1e-5)


def test_draws_spread_around_the_value_and_are_paired():
    rng = np.random.default_rng(0)
    targets = (rng.random([2000, 3]) < 0.4).astype(float)
    scores = targets + rng.normal(0, 1, targets.shape)
    draws = map_draws(scores, targets, draws=200)
    assert abs(draws.mean() - mean_average_precision(scores, targets)) < 0.01 and 0.002 < draws.std() < 0.03
    assert (map_draws(scores, targets, draws=200) == draws).all()
    assert map_draws(-scores, targets, draws=200).mean() < draws.mean()


def test_draws_without_a_positive_are_left_out():
    draws = map_draws(np.array([[0.9], [0.1], [0.2]]), np.array([[1], [0], [0]]))
    assert 150 < len(draws) < 250  # about 300 * (1 - (2 / 3) ** 3)
    np.testing.assert_array_equal(draws, 1.0)


def test_the_interval_has_the_values_in_its_middle_and_the_spread_of_draws():
    draws = np.random.default_rng(0).normal(0.9, 0.1, [1, 4000])  # biased upwards, like draws of AP
    found = interval_of_draws([0.5], draws)
    assert found.mean == 0.5
    assert found.low == pytest.approx(0.5 - 0.196, abs=0.01) and found.high == pytest.approx(0.696, abs=0.01)
    apart = interval_of_draws([0.0, 1.0], np.array([[0.0] * 400, [1.0] * 400]))
    assert apart.mean == 0.5 and apart.low == pytest.approx(0, abs=0.05) and apart.high > 0.95


@pytest.mark.parametrize(
    "scores, targets, sentence",
    [
        ([[0.5]], [[0.5]], "targets must be 0, 1 or -1, got 0.5"),
        ([[np.nan]], [[1]], "scores must not hold NaN, got 1"),
        ([[0.5]], [[1], [0]], "must have one shape"),
        (np.zeros([0, 2]), np.zeros([0, 2]), "at least one row"),
        ([0.5], [1], "must have one shape"),
    ],
)
def test_bad_input(scores, targets, sentence):
    with pytest.raises(ValueError, match=sentence):
        average_precision(scores, targets)


def test_no_positive_and_weights_of_another_length():
    with pytest.raises(ValueError, match="at least one positive"):
        mean_average_precision([[0.5]], [[0]])
    with pytest.raises(ValueError, match=r"weights must be \[N\] or \[D, N\] with N = 1"):
        average_precision([[0.5]], [[1]], [1, 1])
