"""How much each member of a head counts, fitted so that probabilities are as sure as they are right."""

from typing import NamedTuple

import numpy as np

LARGEST_WEIGHT = 100.0
# What members count where no picture says it: one alone, each of several, and the labels' terms; about what `val` of the
# demo and of photographs has fitted.
ALONE, ONE_OF_SEVERAL, TERMS = 1.0, 0.35, 2.5
# The strength of the prior, in nats: a weight of 0, or of twice the prior's, costs half of it.
PRIOR_NATS = 3.0
SMALLEST_SHARE_OF_PRIOR = 0.01
_LARGEST_SHARE = 0.5
_NEWTON_STEPS, _ROUNDS = 50, 30
_MOST_ROWS = 20_000


class Calibration(NamedTuple):
    """What a head's members are added with.

    Under softmax, calibrated probabilities are (1 - uniform_share) · softmax(Σ w_m · logits_m) + uniform_share / L; under
    sigmoid they are sigmoid(Σ w_m · logits_m).

    Attributes:
        weights: w_m of each member, 0..100. Of a head of one member it is one over the temperature (Guo et al. 2017).
        uniform_share: in 0..0.5, of pictures on which nothing that the head knows can be relied upon.
    """

    weights: tuple[float, ...]
    uniform_share: float = 0.0


def prior_calibration(members: int, terms: bool = False) -> Calibration:
    """What members count before any picture has said it.

    Args:
        members: how many, the terms among them.
        terms: whether the last one is the labels' terms.
    """
    heads = members - terms
    return Calibration((ALONE if heads == 1 else ONE_OF_SEVERAL,) * heads + (TERMS,) * terms)


def fit_calibration(logits: np.ndarray, targets: np.ndarray, terms: bool = False) -> Calibration:
    """That under which the true labels are likeliest.

    The likelihood of a logarithmic opinion pool (Genest & Zidek 1986) is concave in its weights, so they have one best
    value. A temperature alone has to be so high that the few pictures on which a head is sure and wrong, such as those
    with a wrong label, become likely, and then doubts all others too much; the uniform share takes those (two of the
    three parts of ensemble temperature scaling, Zhang et al. 2020, Mix-n-Match). It is fitted by expectation
    maximisation. Where pictures are few, the weights stay near `prior_calibration`: its Gaussian prior, whose deviation
    is its own size, counts as much as `PRIOR_NATS` nats.

    Args:
        logits: float [M, N, L] of each member, of pictures that no member was trained on; of more than 20,000 the first.
        targets: int [N], the true labels; or [N, L] of zeros and ones for several labels a picture, -1 is unknown and
            does not count.
        terms: whether the last member is the labels' terms.

    Returns:
        Weights and share; the prior for no pictures.

    Raises:
        ValueError: logits that are not finite.
    """
    if not np.isfinite(logits).all():
        members = np.flatnonzero(~np.isfinite(logits).all(axis=(1, 2))).tolist()
        raise ValueError(
            f"logits must be finite, got NaN or infinity from member {members}: look at the features it was trained on."
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
    """float64 [N, L] probabilities of logits [M, N, L]; `several`: by sigmoid."""
    pooled = np.tensordot(calibration.weights, np.asarray(logits, float), axes=1)
    if several:
        return np.exp(-np.logaddexp(0.0, -pooled))
    share = calibration.uniform_share
    powers = np.exp(pooled - pooled.max(axis=1, keepdims=True))
    return (1 - share) * powers / powers.sum(axis=1, keepdims=True) + share / powers.shape[1]


def equal_weights(members: int) -> Calibration:
    """All members count the same: their mean."""
    return Calibration((1 / members,) * members)


def log_loss(logits: np.ndarray, targets: np.ndarray, calibration: Calibration) -> float:
    """The mean negative log likelihood of the true labels, in nats; of decisions that are known, under several labels.

    Args:
        logits, targets: as of `fit_calibration`.
        calibration: of the members; 0 for no pictures.
    """
    found = np.clip(calibrated(logits, calibration, targets.ndim == 2), 1e-12, 1 - 1e-12)
    if targets.ndim == 2:
        true = np.where(targets > 0, found, 1 - found)[targets >= 0]
    else:
        true = found[np.arange(len(targets)), targets]
    return float(-np.log(true).mean()) if true.size else 0.0


class _Objective(NamedTuple):
    """Negative log likelihood of choices among K alternatives: row i's is log Σ_k exp(w · differences[:, i, k]).

    `differences` float [M, N, K]: how far each alternative's logit lies above the true one's; `rows` [N]: what each row
    weighs; `prior` [M]: the weights that are likeliest without any row.
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
        """Yes or no: the alternative to what is true is 0 against the logit, or the logit against 0."""
        wrong = np.where(targets > 0, -logits, logits)
        return cls(np.stack([np.zeros_like(wrong), wrong], axis=2), np.ones(len(targets)), prior)

    def losses(self, weights: np.ndarray) -> np.ndarray:
        logits = np.tensordot(weights, self.differences, axes=1)
        highest = logits.max(axis=1)
        return highest + np.log(np.exp(logits - highest[:, np.newaxis]).sum(axis=1))

    def slopes(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Gradient [M] and Hessian [M, M] of `loss`."""
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
        """The mean over the rows, with what the prior says against the weights."""
        away = PRIOR_NATS / 2 * (((weights - self.prior) / self.prior) ** 2).sum()
        return float((self.losses(weights) @ self.rows + away) / len(self.rows))


def _minimised(objective: _Objective, weights: np.ndarray) -> np.ndarray:
    """The weights in 0..100 of the least loss, by Newton's method on those that are not held at a bound."""
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
    # Where nothing helps, a hint of the prior keeps the order of the labels.
    return weights if weights.any() else SMALLEST_SHARE_OF_PRIOR * objective.prior


def _likeliest_share(true: np.ndarray, num_labels: int) -> float:
    """The likelihood is concave in the share: where its slope is 0."""
    true = np.maximum(true, 1e-38)
    low, high, gain = 0.0, _LARGEST_SHARE, 1 / num_labels - true
    if gain @ (1 / true) <= 0:
        return 0.0
    for _ in range(30):
        middle = (low + high) / 2
        rising = (gain / (true + middle * gain)).sum() > 0
        low, high = (middle, high) if rising else (low, middle)
    return (low + high) / 2
