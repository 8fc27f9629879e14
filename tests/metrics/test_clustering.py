"""Cluster accuracy, against every matching of small sets."""

import itertools

import numpy as np
import pytest

from ctxvision.metrics import cluster_accuracy


@pytest.mark.parametrize("seed", range(30))
def test_the_matching_is_the_best_of_all(seed):
    rng = np.random.default_rng(seed)
    labels, found = (rng.integers(0, rng.integers(1, 6), 12) for _ in range(2))
    # A label without a cluster of its own is matched with nothing (-1).
    targets = [*range(5), -1, -1, -1, -1, -1]
    best = max(
        np.mean([matching[label] == answer for label, answer in zip(labels, found)])
        for matching in set(itertools.permutations(targets, 5))
    )
    assert cluster_accuracy(found.tolist(), labels.tolist()) == pytest.approx(best)


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
