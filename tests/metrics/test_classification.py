"""Accuracies against values counted by hand."""

import numpy as np
import pytest

from ctxvision.metrics.classification import hit_at_k, mean_and_deviation, phrase_hits, top_k_accuracy

PROBABILITIES = [[0.7, 0.2, 0.1], [0.5, 0.4, 0.1], [0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]
LABELS = [0, 1, 2, 2]  # ranks of the true label: 1, 2, 3, 1


@pytest.mark.parametrize("k, expected", [(1, 0.5), (2, 0.75), (3, 1.0), (5, 1.0)])
def test_top_k_accuracy(k, expected):
    assert top_k_accuracy(PROBABILITIES, np.array(LABELS), k) == expected


def test_a_model_that_says_the_same_for_all_labels_is_right_by_position_only():
    uniform = np.full((4, 4), 0.25)
    assert top_k_accuracy(uniform, [0, 1, 2, 3], k=1) == 0.25
    assert top_k_accuracy(uniform, [3, 3, 3, 3], k=3) == 0.0


@pytest.mark.parametrize(
    "probabilities, labels, k, message",
    [
        (np.zeros((0, 3)), [], 1, "probabilities must be .N, L. with at least one row"),
        ([0.1, 0.9], [1], 1, r"got shape \(2,\)"),
        ([[np.nan, 0.5], [0.5, 0.5]], [0, 1], 1, "must not hold NaN, got 1 rows with NaN of 2"),
        ([[0.1, 0.9]], [0, 1], 1, r"labels must be integers of shape \(1,\)"),
        ([[0.1, 0.9]], [0.0], 1, "labels must be integers .* got float64"),
        ([[0.1, 0.9]], [2], 1, r"labels must lie in 0..1, got 2..2"),
        ([[0.1, 0.9]], [-1], 1, r"labels must lie in 0..1, got -1..-1"),
        ([[0.1, 0.9]], [1], 0, "k must be a whole number of at least 1, got 0"),
        ([[0.1, 0.9]], [1], 1.5, "k must be a whole number of at least 1, got 1.5"),
    ],
)
def test_top_k_accuracy_refuses(probabilities, labels, k, message):
    with pytest.raises(ValueError, match=message):
        top_k_accuracy(probabilities, labels, k)


def test_hit_at_k():
    found = [["cat", "dog", "cow"], ["sun", "moon", ""], ["car", "bus", "van"], ["", "", ""]]
    queries = [{"cat"}, ["star", "moon"], ("bike",), {""}]
    hits = phrase_hits(found, queries)
    assert hits.tolist() == [[True, False, False], [False, True, False], [False] * 3, [False] * 3]
    assert hit_at_k(hits, k=1) == 0.25
    assert hit_at_k(hits, k=3) == 0.5


@pytest.mark.parametrize(
    "hits, k, message",
    [
        (np.zeros((0, 3), bool), 1, "hits must be a bool matrix"),
        ([True, False], 1, "hits must be a bool matrix"),
        ([[0.0, 1.0]], 1, "hits must be a bool matrix .* got float64"),
        ([[True, False]], 3, "k must be at most the 2 phrases found per picture, got 3"),
        ([[True, False]], 0, "k must be a whole number"),
    ],
)
def test_hit_at_k_refuses(hits, k, message):
    with pytest.raises(ValueError, match=message):
        hit_at_k(hits, k)


def test_phrase_hits_refuses_rows_that_do_not_match():
    with pytest.raises(ValueError, match="one row per picture, got 1 and 2 rows"):
        phrase_hits([["cat"]], [{"cat"}, {"dog"}])
    with pytest.raises(ValueError, match=r"the same number of phrases in each row, got \[1, 2\]"):
        phrase_hits([["cat"], ["cat", "dog"]], [{"cat"}, {"dog"}])


def test_mean_and_deviation():
    assert mean_and_deviation([2.0, 4.0, 9.0]) == pytest.approx((5.0, 13.0**0.5))  # (9 + 1 + 16) / 2
    assert mean_and_deviation([0.3]) == (0.3, 0.0)


@pytest.mark.parametrize(
    "values, message",
    [
        ([], "at least one number"),
        ([[1.0]], r"got shape \(1, 1\)"),
        ([1.0, np.nan], "values must be finite"),
    ],
)
def test_mean_and_deviation_refuses(values, message):
    with pytest.raises(ValueError, match=message):
        mean_and_deviation(values)
