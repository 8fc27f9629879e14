"""Fits the weights of a head's members so that its probabilities are calibrated."""

from typing import NamedTuple

import numpy as np

LARGEST_WEIGHT = 100.0
# Prior weights of a single member, of one of several members, and of the labels' terms, close to the weights that were
# fitted on `val` of the demo and of photographs.
ALONE, ONE_OF_SEVERAL, TERMS = 1.0, 0.35, 2.5
# Strength of the prior in nats. A weight of 0, or of twice the prior weight, costs half as much.
PRIOR_NATS = 3.0
SMALLEST_SHARE_OF_PRIOR = 0.01
_LARGEST_SHARE = 0.5
_NEWTON_STEPS, _ROUNDS = 50, 30
_MOST_ROWS = 20_000


class Calibration(NamedTuple):
    """The weights with which a head's members are added.

    Under softmax, calibrated probabilities are (1 - uniform_share) · softmax(Σ w_m · logits_m) + uniform_share / L;
    under sigmoid they are sigmoid(Σ w_m · logits_m).

    Attributes:
        weights: w_m of each member, 0..100. For a head of one member it is 1 / temperature (Guo et al. 2017).
        uniform_share: 0..0.5, weight of the uniform distribution that is mixed into the softmax.
    """

    weights: tuple[float, ...]
    uniform_share: float = 0.0


def prior_calibration(members: int, terms: bool = False) -> Calibration:
    """Returns the weights of members before any picture is seen.

    Args:
        members: number of members, including the terms.
        terms: whether the last member is the labels' terms.
    """
    heads = members - terms
    return Calibration((ALONE if heads == 1 else ONE_OF_SEVERAL,) * heads + (TERMS,) * terms)


def fit_calibration(logits: np.ndarray, targets: np.ndarray, terms: bool = False) -> Calibration:
    """Fits the calibration with the highest posterior probability of the true labels.

    The likelihood of a logarithmic opinion pool (Genest & Zidek 1986) is concave in its weights, so the best weights
    are unique. A temperature alone must be high enough for the few pictures on which a head is sure and wrong, such as
    pictures with a wrong label, and then all other pictures get too low a confidence. The uniform share absorbs those
    pictures (two of the three parts of ensemble temperature scaling, Zhang et al. 2020, Mix-n-Match); it is fitted by
    expectation maximisation. A Gaussian prior of strength `PRIOR_NATS`, whose deviation equals its mean, keeps the
    weights of few pictures near `prior_calibration`.

    Args:
        logits: float [M, N, L], of each member, for pictures that no member was trained on; only the first 20,000 are
            used.
        targets: int [N], the true labels; or [N, L] of 0 and 1 for several labels per picture, with -1 for unknown
            targets, which are ignored.
        terms: whether the last member is the labels' terms.

    Returns:
        The weights and the share; the prior if there are no pictures.

    Raises:
        ValueError: a logit is not finite.
    """
    if not np.isfinite(logits).all():
        members = np.flatnonzero(~np.isfinite(logits).all(axis=(1, 2))).tolist()
        raise ValueError(
            f"logits must be finite, got NaN or infinity from member {members}: check the features of its training."
        )
    prior = prior_calibration(len(logits), terms)
    start = np.array(prior.weights)
    logits, targets = np.asarray(logits[:, :_MOST_ROWS], float), targets[:_MOST_ROWS]
    if targets.ndim == 2:
        if not (known := targets >= 0).any():
            return prior
        objective = _Objective.of_decisions(logits[:, known], targets[known], start)
        return Calibration(tuple(_minimised(objective, start).tolist()))
    if not len(targets):
        return prior
    objective = _Objective.of_choices(logits, targets, start)
    weights, share = _minimised(objective, start), 0.0
    for _ in range(_ROUNDS):
        true, num_labels = np.exp(-objective.losses(weights)), logits.shape[2]
        before, share = share, _likeliest_share(true, num_labels)
        if abs(share - before) < 1e-5:
            break
        relied = (1 - share) * true / ((1 - share) * true + share / num_labels)
        weights = _minimised(objective._replace(rows=relied), weights)
    return Calibration(tuple(weights.tolist()), share)


def calibrated(logits: np.ndarray, calibration: Calibration, several: bool = False) -> np.ndarray:
    """Returns the probabilities float64 [N, L] of logits [M, N, L], by softmax, or by sigmoid if `several`."""
    pooled = np.tensordot(calibration.weights, np.asarray(logits, float), axes=1)
    if several:
        return np.exp(-np.logaddexp(0.0, -pooled))
    share = calibration.uniform_share
    powers = np.exp(pooled - pooled.max(axis=1, keepdims=True))
    return (1 - share) * powers / powers.sum(axis=1, keepdims=True) + share / powers.shape[1]


def equal_weights(members: int) -> Calibration:
    """Returns equal weights, which average the members' logits."""
    return Calibration((1 / members,) * members)


def log_loss(logits: np.ndarray, targets: np.ndarray, calibration: Calibration) -> float:
    """Returns the mean negative log likelihood, in nats, of the true labels or of several labels' known decisions.

    Args:
        logits, targets: see `fit_calibration`.
        calibration: calibration of the members.

    Returns:
        The loss; 0 if there are no pictures.
    """
    found = np.clip(calibrated(logits, calibration, targets.ndim == 2), 1e-12, 1 - 1e-12)
    if targets.ndim == 2:
        true = np.where(targets > 0, found, 1 - found)[targets >= 0]
    else:
        true = found[np.arange(len(targets)), targets]
    return float(-np.log(true).mean()) if true.size else 0.0


class _Objective(NamedTuple):
    """Negative log likelihood of choices among K alternatives: log Σ_k exp(w · differences[:, i, k]) for row i.

    Attributes:
        differences: float [M, N, K], each alternative's logit minus the true one's.
        rows: [N], weight of each row.
        prior: [M], mean of the prior of the weights.
    """

    differences: np.ndarray
    rows: np.ndarray
    prior: np.ndarray

    @classmethod
    def of_choices(cls, logits: np.ndarray, labels: np.ndarray, prior: np.ndarray) -> "_Objective":
        true = np.take_along_axis(logits, labels[np.newaxis, :, np.newaxis], axis=2)
        return cls(logits - true, np.ones(len(labels)), prior)

    @classmethod
    def of_decisions(cls, logits: np.ndarray, targets: np.ndarray, prior: np.ndarray) -> "_Objective":
        """Builds the objective of yes-or-no decisions, which are choices between a logit and 0."""
        wrong = np.where(targets > 0, -logits, logits)
        return cls(np.stack([np.zeros_like(wrong), wrong], axis=2), np.ones(len(targets)), prior)

    def losses(self, weights: np.ndarray) -> np.ndarray:
        logits = np.tensordot(weights, self.differences, axes=1)
        highest = logits.max(axis=1)
        return highest + np.log(np.exp(logits - highest[:, np.newaxis]).sum(axis=1))

    def slopes(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the gradient [M] and Hessian [M, M] of `loss`."""
        logits = np.tensordot(weights, self.differences, axes=1)
        chances = np.exp(logits - self.losses(weights)[:, np.newaxis])
        means = np.einsum("nk,mnk->mn", chances, self.differences)
        weighted = chances * self.rows[:, np.newaxis]
        squares = np.stack([(weighted * one * self.differences).sum(axis=(1, 2)) for one in self.differences])
        pull = PRIOR_NATS / self.prior**2
        gradient = means @ self.rows + pull * (weights - self.prior)
        hessian = squares - (means * self.rows) @ means.T + np.diag(pull)
        return gradient / len(self.rows), hessian / len(self.rows)

    def loss(self, weights: np.ndarray) -> float:
        """Returns the mean over the rows, plus the penalty of the prior."""
        away = PRIOR_NATS / 2 * (((weights - self.prior) / self.prior) ** 2).sum()
        return float((self.losses(weights) @ self.rows + away) / len(self.rows))


def _minimised(objective: _Objective, weights: np.ndarray) -> np.ndarray:
    """Returns the weights in 0..100 with the least loss, by Newton's method on the weights that are not at a bound."""
    loss = objective.loss(weights)
    for _ in range(_NEWTON_STEPS):
        gradient, hessian = objective.slopes(weights)
        held = ((weights <= 0) & (gradient > 0)) | ((weights >= LARGEST_WEIGHT) & (gradient < 0))
        free = np.flatnonzero(~held)
        if not len(free) or np.abs(gradient[free]).max() < 1e-9:
            break
        curved = hessian[np.ix_(free, free)] + 1e-9 * np.eye(len(free))
        step = np.zeros_like(weights)
        step[free] = -np.linalg.solve(curved, gradient[free])
        for halvings in range(_NEWTON_STEPS):
            tried = np.clip(weights + step / 2**halvings, 0.0, LARGEST_WEIGHT)
            if (after := objective.loss(tried)) < loss:
                break
        else:
            break
        weights, loss = tried, after
    # If all weights are 0, a small share of the prior keeps the order of the labels.
    return weights if weights.any() else SMALLEST_SHARE_OF_PRIOR * objective.prior


def _likeliest_share(true: np.ndarray, num_labels: int) -> float:
    """Returns the share at which the slope of the likelihood, which is concave in the share, is 0."""
    true = np.maximum(true, 1e-38)
    low, high, gain = 0.0, _LARGEST_SHARE, 1 / num_labels - true
    if gain @ (1 / true) <= 0:
        return 0.0
    for _ in range(30):
        middle = (low + high) / 2
        rising = (gain / (true + middle * gain)).sum() > 0
        low, high = (middle, high) if rising else (low, middle)
    return (low + high) / 2
