"""Accuracies and hit rates."""

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import ArrayLike


def top_k_accuracy(probabilities: ArrayLike, labels: ArrayLike, k: int) -> float:
    """Computes the fraction of rows whose true label is among the `k` most probable labels.

    Of equal probabilities the lower label comes first, so a model that gives every label the same probability is
    right only where the true label is one of the first `k`.

    Args:
        probabilities: float [N, L], scores of any scale that rank the labels; no NaN.
        labels: int [N], the true label of each row, 0..L-1.
        k: number of labels that count, at least 1; with `k >= L` every row is right.

    Returns:
        A float in 0..1.

    Raises:
        ValueError: there are no rows, shapes are wrong, probabilities hold NaN, labels lie outside 0..L-1, or `k` is
            below 1.

    Example:
        >>> top_k_accuracy([[0.7, 0.2, 0.1], [0.5, 0.4, 0.1]], [0, 1], k=1)
        0.5
    """
    _check_k(k)
    return float((ranks_of(probabilities, labels) < k).mean())


def ranks_of(probabilities: ArrayLike, labels: ArrayLike) -> np.ndarray:
    """Returns the rank of each row's true label, 0 for the most probable label.

    Args:
        probabilities: float [N, L], scores of any scale that rank the labels; no NaN. Of equal scores the lower label
            comes first.
        labels: int [N], the true label of each row, 0..L-1.

    Returns:
        int64 [N] in 0..L-1.

    Raises:
        ValueError: there are no rows, shapes are wrong, probabilities hold NaN, or labels lie outside 0..L-1.

    Example:
        >>> ranks_of([[0.7, 0.2, 0.1], [0.5, 0.4, 0.1]], [0, 1]).tolist()
        [0, 1]
    """
    scores, truth = np.asarray(probabilities, dtype=float), np.asarray(labels)
    if scores.ndim != 2 or 0 in scores.shape:
        raise ValueError(
            f"probabilities must be [N, L] with at least one row and one label, got shape "
            f"{scores.shape}; give one row per picture."
        )
    if np.isnan(scores).any():
        raise ValueError(
            f"probabilities must not hold NaN, got {int(np.isnan(scores).any(axis=1).sum())} rows "
            f"with NaN of {len(scores)}; check the model's inputs and loss."
        )
    if truth.shape != (len(scores),) or not np.issubdtype(truth.dtype, np.integer):
        raise ValueError(
            f"labels must be integers of shape ({len(scores)},), one per row of probabilities, got "
            f"{truth.dtype} of shape {truth.shape}; give label indices."
        )
    if truth.min() < 0 or truth.max() >= scores.shape[1]:
        raise ValueError(
            f"labels must lie in 0..{scores.shape[1] - 1}, got {truth.min()}..{truth.max()}; "
            "index them by the columns of probabilities."
        )
    own = scores[np.arange(len(scores)), truth][:, None]
    before = np.arange(scores.shape[1]) < truth[:, None]
    return ((scores > own) | ((scores == own) & before)).sum(axis=1)


def phrase_hits(found: Sequence[Sequence[str]], true_queries: Sequence[Collection[str]]) -> np.ndarray:
    """Tells which of the phrases found for each picture are queries of that picture.

    Args:
        found: N rows of K phrases, best first; "" (a missing phrase) is never a hit.
        true_queries: N collections, the queries of each picture.

    Returns:
        bool [N, K], the argument of `hit_at_k`.

    Raises:
        ValueError: the two differ in length, or rows of `found` differ in length.

    Example:
        >>> phrase_hits([["cat", "dog"]], [{"dog", "puppy"}]).tolist()
        [[False, True]]
    """
    if len(found) != len(true_queries):
        raise ValueError(
            f"found and true_queries must have one row per picture, got {len(found)} and "
            f"{len(true_queries)} rows; give both for the same pictures."
        )
    if len({len(phrases) for phrases in found}) > 1:
        raise ValueError(
            "found must hold the same number of phrases in each row, got "
            f"{sorted({len(phrases) for phrases in found})}; pad rows with ''."
        )
    return np.array(
        [
            [phrase != "" and phrase in queries for phrase in phrases]
            for phrases, queries in zip(found, true_queries)
        ],
        dtype=bool,
    )


def hit_at_k(hits: ArrayLike, k: int) -> float:
    """Computes the fraction of pictures for which one of the first `k` phrases is a query of the picture.

    Args:
        hits: bool [N, K] from `phrase_hits`; column j is the j-th phrase.
        k: number of phrases that count, 1..K.

    Returns:
        A float in 0..1.

    Raises:
        ValueError: there are no rows, `hits` is not a bool matrix, or `k` lies outside 1..K.

    Example:
        >>> hit_at_k([[False, True], [False, False]], k=2)
        0.5
    """
    matrix = np.asarray(hits)
    _check_k(k)
    if matrix.ndim != 2 or 0 in matrix.shape or matrix.dtype != bool:
        raise ValueError(
            f"hits must be a bool matrix [N, K] with at least one row, got {matrix.dtype} of shape "
            f"{matrix.shape}; make it with phrase_hits."
        )
    if k > matrix.shape[1]:
        raise ValueError(
            f"k must be at most the {matrix.shape[1]} phrases found per picture, got {k}; "
            "retrieve more phrases or ask for fewer."
        )
    return float(matrix[:, :k].any(axis=1).mean())


def mean_and_deviation(values: ArrayLike) -> tuple[float, float]:
    """Computes mean and sample standard deviation (n - 1 in the denominator) over seeds.

    Args:
        values: float [n], finite, n at least 1.

    Returns:
        `(mean, deviation)`; the deviation of one value is 0.0.

    Raises:
        ValueError: there are no values, there is more than one axis, or a value is not finite.

    Example:
        >>> mean_and_deviation([1.0, 2.0, 3.0])
        (2.0, 1.0)
    """
    numbers = np.asarray(values, dtype=float)
    if numbers.ndim != 1 or not numbers.size:
        raise ValueError(
            f"values must be a list of at least one number, got shape {numbers.shape}; "
            "give one value per seed."
        )
    if not np.isfinite(numbers).all():
        raise ValueError(f"values must be finite, got {numbers.tolist()}; leave out failed runs.")
    return float(numbers.mean()), float(numbers.std(ddof=1)) if numbers.size > 1 else 0.0


def _check_k(k: int) -> None:
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
        raise ValueError(f"k must be a whole number of at least 1, got {k!r}; use 1 for the top answer.")
