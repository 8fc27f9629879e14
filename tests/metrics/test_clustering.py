"""Checked against every permutation of small matrices."""

import itertools

import numpy as np
import pytest

from ctxvision.metrics import best_assignment, cluster_accuracy


@pytest.mark.parametrize("seed", range(30))
def test_assignment_is_the_best_of_all(seed):
    rng = np.random.default_rng(seed)
    rows = int(rng.integers(1, 6))
    # Small whole numbers, negative ones too, so that ties are common.
    values = rng.integers(-3, 4, [rows, int(rng.integers(rows, 7))])
    best = max(
        sum(values[row, column] for row, column in enumerate(columns))
        for columns in itertools.permutations(range(values.shape[1]), rows)
    )
    found = best_assignment(values)
    assert len(set(found.tolist())) == rows
    assert values[np.arange(rows), found].sum() == best


def test_assignment_of_real_numbers_in_a_wide_matrix():
    # Each row's best column is its own: nothing can be better.
    values = np.random.default_rng(0).random([40, 3000])
    own = np.random.default_rng(1).permutation(3000)[:40]
    values[np.arange(40), own] = 2
    assert best_assignment(values).tolist() == own.tolist()


@pytest.mark.parametrize("values", [np.zeros([2, 1]), np.zeros([0, 3]), [1.0], [[np.nan, 1.0]]])
def test_assignment_refuses(values):
    with pytest.raises(ValueError, match=r"values must be finite \[R, C\] with 1 to C rows, got shape"):
        best_assignment(values)


def test_a_cluster_counts_for_one_label_only():
    # "a" is matched with x (2) and "b" with y (1); or "a" with y (1) and "b" with x (0).
    assert cluster_accuracy(["a", "a", "a", "b", "b"], ["x", "x", "y", "y", "z"]) == pytest.approx(3 / 5)


def test_more_labels_than_clusters():
    assert cluster_accuracy(["a"] * 4, ["w", "x", "y", "y"]) == 0.5


def test_names_do_not_matter():
    labels = np.random.default_rng(0).integers(0, 5, 50)
    assert cluster_accuracy([f"phrase {(label + 2) % 5}" for label in labels], labels.tolist()) == 1.0


@pytest.mark.parametrize(("found", "labels"), [([], []), (["a"], ["x", "y"])])
def test_cluster_accuracy_refuses(found, labels):
    with pytest.raises(ValueError, match="must have one entry for each of at least one picture"):
        cluster_accuracy(found, labels)
