"""Agreement of free answers with labels, regardless of names."""

from collections.abc import Hashable, Sequence

import numpy as np


def cluster_accuracy(found: Sequence[Hashable], labels: Sequence[Hashable]) -> float:
    """Computes the fraction of pictures whose answer matches their label, under the best matching (Conti et al. 2023).

    Pictures with the same answer form a cluster. Each cluster is matched with at most one label, and each label with
    at most one cluster, so that the most pictures lie in a cluster that is matched with their label.

    Args:
        found: N answers, one a picture.
        labels: N labels.

    Returns:
        A float in 0..1.

    Raises:
        ValueError: no pictures, or the two differ in length.

    Example:
        >>> cluster_accuracy(["pup", "pup", "kitten", "cat"], ["dog", "dog", "cat", "cat"])
        0.75
    """
    from scipy.optimize import linear_sum_assignment

    if len(found) != len(labels) or not len(found):
        raise ValueError(
            f"found and labels must have one entry for each of at least one picture, got {len(found)} and "
            f"{len(labels)}: give both for the same pictures."
        )
    rows = {label: i for i, label in enumerate(dict.fromkeys(labels))}
    columns = {answer: i for i, answer in enumerate(dict.fromkeys(found))}
    together = np.zeros([len(rows), len(columns)], int)
    np.add.at(together, ([rows[label] for label in labels], [columns[answer] for answer in found]), 1)
    matched = linear_sum_assignment(together, maximize=True)
    return float(together[matched].sum() / len(found))
