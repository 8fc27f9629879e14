"""Free answers against labels: how well their groups match, whatever they are called."""

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike


def cluster_accuracy(found: Sequence[Hashable], labels: Sequence[Hashable]) -> float:
    """The fraction of pictures whose answer belongs to their label, under the best matching (Conti et al. 2023).

    Pictures with one answer are a cluster. Each cluster is matched with one label at most and each label with one
    cluster at most, so that most pictures lie in a cluster that is matched with their label.

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
    if len(found) != len(labels) or not len(found):
        raise ValueError(
            f"found and labels must have one entry for each of at least one picture, got {len(found)} and "
            f"{len(labels)}: give both for the same pictures."
        )
    rows = {label: i for i, label in enumerate(dict.fromkeys(labels))}
    columns = {answer: i for i, answer in enumerate(dict.fromkeys(found))}
    together = np.zeros([len(rows), len(columns)])
    np.add.at(together, ([rows[label] for label in labels], [columns[answer] for answer in found]), 1)
    if len(columns) < len(rows):
        together = together.T
    matched = best_assignment(together)
    return float(together[np.arange(len(together)), matched].sum() / len(found))


def best_assignment(values: ArrayLike) -> np.ndarray:
    """A column of its own for each row, so that the sum of the values is largest (the Hungarian algorithm).

    Args:
        values: float [R, C], finite, R no more than C.

    Returns:
        int64 [R], the columns. It takes R² · C steps.

    Raises:
        ValueError: no rows, fewer columns than rows, or values that are not finite.

    Example:
        >>> best_assignment([[3.0, 2.0], [3.0, 0.0]]).tolist()
        [1, 0]
    """
    costs = -np.asarray(values, dtype=float)
    if costs.ndim != 2 or not 0 < costs.shape[0] <= costs.shape[1] or not np.isfinite(costs).all():
        raise ValueError(
            f"values must be finite [R, C] with 1 to C rows, got shape {costs.shape}: transpose a matrix with more "
            f"rows than columns."
        )
    rows, columns = costs.shape
    # Potentials u and v keep every reduced cost at 0 or above; each row in turn gets its column along the cheapest
    # path of reduced costs. Column `columns` stands for the start of the path.
    u, v = np.zeros(rows), np.zeros(columns + 1)
    row_of = np.full(columns + 1, -1)
    for row in range(rows):
        row_of[columns], column = row, columns
        least, before = np.full(columns, np.inf), np.full(columns, columns)
        visited = np.zeros(columns + 1, bool)
        while row_of[column] >= 0:
            visited[column] = True
            here = row_of[column]
            reduced = costs[here] - u[here] - v[:columns]
            nearer = (reduced < least) & ~visited[:columns]
            least[nearer], before[nearer] = reduced[nearer], column
            open_costs = np.where(visited[:columns], np.inf, least)
            following = int(open_costs.argmin())
            step = open_costs[following]
            u[row_of[visited]] += step
            v[visited] -= step
            least[~visited[:columns]] -= step
            column = following
        while column != columns:
            row_of[column] = row_of[before[column]]
            column = before[column]
    assigned = np.empty(rows, np.int64)
    taken = np.flatnonzero(row_of[:columns] >= 0)
    assigned[row_of[taken]] = taken
    return assigned
