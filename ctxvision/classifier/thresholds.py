"""Fits the threshold of each label for a wanted precision."""

import numpy as np

from ctxvision.metrics import precision_recall_curve

PRECISION = 0.8
# Numbers of pictures with which the precision of all labels together counts beside a label's own precision.
SHRINKAGES = (1, 2, 4, 8, 16, 32, 1000)
_FOLDS, _REPETITIONS = 5, 3


def fit_thresholds(
    probabilities: np.ndarray, targets: np.ndarray, precision: float = PRECISION
) -> np.ndarray:
    """Fits each label's lowest threshold above which a share `precision` of the accepted pictures has the label.

    Few pictures per label make such an estimate optimistic: the lowest threshold that looks good enough is often a
    lucky one. A label's precision above a threshold is therefore estimated as (right + m · q) / (accepted + m), with q
    the precision of all labels together above that threshold. m is the smallest of `SHRINKAGES` for which all accepted
    pictures together reach the precision in cross-validation. Fitted on 250 to 720 pictures, the precision on other
    pictures was 0.80 to 0.83 on average for a wanted 0.8, and deviated by 2 to 5 points between draws
    (tools/benchmarks/demo_seeds.py).

    A label for which no threshold reaches the precision, such as a label without pictures, gets a threshold above all
    its probabilities here, and not below the threshold for all labels together.

    Args:
        probabilities: float [N, L], of pictures that the head was not trained on.
        targets: [N, L] of 0 and 1, with -1 for unknown targets, which are ignored.
        precision: the wanted precision, 0..1.

    Returns:
        float64 [L] in 0..1; all 1.0, which accepts nothing below certainty, if `targets` has no positive.

    Example:
        >>> fit_thresholds(np.array([[0.9], [0.8], [0.3], [0.2]]), np.array([[1], [1], [0], [0]])).tolist()
        [0.8]
    """
    for shrinkage in SHRINKAGES:
        if _reaches(probabilities, targets, precision, shrinkage):
            break
    return _fit(probabilities, targets, precision, shrinkage)


def _reaches(probabilities: np.ndarray, targets: np.ndarray, precision: float, shrinkage: int) -> bool:
    """Returns whether the accepted pictures of the left-out folds reach the precision."""
    rng = np.random.default_rng(0)
    accepted = right = 0.0
    for _ in range(_REPETITIONS):
        folds = rng.permutation(len(probabilities)) % _FOLDS
        for fold in range(_FOLDS):
            fitted, left_out = folds != fold, folds == fold
            thresholds = _fit(probabilities[fitted], targets[fitted], precision, shrinkage)
            passed = (probabilities[left_out] >= thresholds) & (targets[left_out] >= 0)
            accepted += passed.sum()
            right += targets[left_out][passed].sum()
    return right >= precision * accepted


def _fit(probabilities: np.ndarray, targets: np.ndarray, precision: float, shrinkage: int) -> np.ndarray:
    if not (targets > 0).any():
        return np.ones(targets.shape[1])
    together, _, levels = precision_recall_curve(probabilities, targets)
    served = levels[together >= precision].min(initial=1.0)
    thresholds = []
    for scores, target in zip(probabilities.T, targets.T):
        above_all = np.nextafter(scores.max(), np.float32(2))
        scores, target = scores[target >= 0], target[target >= 0]
        own, counts = np.unique(-scores, return_counts=True)  # equal scores are accepted together
        accepted = counts.cumsum()
        right = np.bincount(np.searchsorted(own, -scores), target).cumsum()
        believed = together[np.searchsorted(-levels, own)]
        estimate = (right + shrinkage * believed) / (accepted + shrinkage)
        reached = np.flatnonzero(estimate >= precision)
        thresholds.append(-own[reached[-1]] if len(reached) else min(1.0, max(served, above_all)))
    return np.array(thresholds, float)
