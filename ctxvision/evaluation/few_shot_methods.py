"""Few-shot classifiers over frozen features."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ctxvision.classifier.calibration import Calibration, calibrated, fit_calibration
from ctxvision.classifier.head import probabilities_of, train_head
from ctxvision.classifier.terms import PlacedTerms, scores_by_terms
from ctxvision.evaluation.linear_probe import LinearProbe

# One array [N, D_i] per modality: visual features, then context, then query embedding.
Inputs = Sequence[np.ndarray]


class Support(NamedTuple):
    """The labelled pictures.

    Attributes:
        inputs: float32 [N, D_i] for each modality.
        labels: int [N] in 0..num_labels-1; every label occurs.
        num_labels: L.
        steps, seed: for the training of a head.
        terms: terms of the labels.
    """

    inputs: Inputs
    labels: np.ndarray
    num_labels: int
    steps: int
    seed: int
    terms: PlacedTerms


# Maps the support and a setting to a classifier, which maps inputs to scores [N, L].
Learn = Callable[[Support, float], Callable[[Inputs], np.ndarray]]


class Method(NamedTuple):
    """A few-shot method.

    Attributes:
        learn: makes a classifier from the support.
        modalities: number of inputs that it uses.
        settings: candidates; `val` chooses one.
    """

    learn: Learn
    modalities: int
    settings: tuple[float, ...] = (0.0,)


def linear_probe(support: Support, l2: float) -> Callable[[Inputs], np.ndarray]:
    """Fits a logistic regression over the concatenated modalities; see `LinearProbe`."""
    probe = LinearProbe(np.concatenate(support.inputs, axis=1), support.labels, support.num_labels, l2)
    return lambda inputs: probe.probabilities(np.concatenate(inputs, axis=1))


def fusion_head(support: Support, _: float) -> Callable[[Inputs], np.ndarray]:
    """Trains the library's own head, like the head of the run's classifier."""
    head = train_head(support.inputs, support.labels, support.num_labels, support.steps, support.seed)
    return lambda inputs: probabilities_of(head, inputs)


def pool(support: Support, l2: float) -> Callable[[Inputs], np.ndarray]:
    """Fits the run's fusion for few pictures: a pool of a linear probe for each modality and the labels' terms.

    The weights of the members are fitted on the support by cross-validation in up to 5 folds, so no other labelled
    pictures are needed. With one picture a label nothing can be held out: each probe then has the weight `ONE_SHOT`,
    and only the weight of the terms is fitted.
    """
    _, contexts, queries = support.inputs
    places = support.terms.for_model(support.num_labels, queries, contexts)

    def probes(rows: np.ndarray) -> list[LinearProbe]:
        return [LinearProbe(p[rows], support.labels[rows], support.num_labels, l2) for p in support.inputs]

    def logits(fitted: Sequence[LinearProbe], inputs: Inputs) -> np.ndarray:
        found = [one.probabilities(part) for one, part in zip(fitted, inputs, strict=True)]
        return np.log(np.maximum(found, 1e-6))

    own_terms = scores_by_terms(places, contexts, queries)[np.newaxis]
    folds = _folds(support.labels)
    if folds.max() == 0:
        weights = fit_calibration(own_terms, support.labels, terms=True).weights
        calibration = Calibration((*(ONE_SHOT for _ in support.inputs), *weights))
    else:
        held_out = np.zeros([len(support.inputs), *own_terms.shape[1:]])
        for fold in range(folds.max() + 1):
            own = folds == fold
            held_out[:, own] = logits(probes(~own), [part[own] for part in support.inputs])
        calibration = fit_calibration(np.concatenate([held_out, own_terms]), support.labels, terms=True)
    whole = probes(np.ones(len(support.labels), bool))

    def answer(inputs: Inputs) -> np.ndarray:
        terms = scores_by_terms(places, inputs[1], inputs[2])[np.newaxis]
        return calibrated(np.concatenate([logits(whole, inputs), terms]), calibration)

    return answer


def _folds(labels: np.ndarray) -> np.ndarray:
    """Returns the fold of each picture, int [N]: as many folds as the rarest label has pictures, at most 5."""
    most = min(MOST_FOLDS, int(np.unique(labels, return_counts=True)[1].min()))
    folds = np.zeros(len(labels), int)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        folds[rows] = np.arange(len(rows)) % most
    return folds


def cache(support: Support, sharpness: float) -> Callable[[Inputs], np.ndarray]:
    """Builds a key-value cache without training (Tip-Adapter, Zhang et al. 2022, Eq. 4–5): pictures are keys, labels values.

    A picture's affinity to a key is exp(-sharpness · (1 - cosine)), where cosine is the mean over the modalities. A
    label's score is the mean affinity to its keys, so that labels with more pictures are not preferred.
    """
    normalize = _Normalizer(support.inputs)
    keys = normalize(support.inputs)
    values = np.eye(support.num_labels, dtype=np.float32)[support.labels]
    values /= values.sum(axis=0)
    return lambda inputs: np.exp(-sharpness * (1.0 - normalize(inputs) @ keys.T)) @ values


def prototypes(support: Support, _: float) -> Callable[[Inputs], np.ndarray]:
    """Finds the nearest class mean by cosine."""
    normalize = _Normalizer(support.inputs)
    values = np.eye(support.num_labels, dtype=np.float32)[support.labels]
    means = values.T @ normalize(support.inputs)
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-6)
    return lambda inputs: normalize(inputs) @ means.T


class _Normalizer:
    """Maps inputs to L2-normalised rows, float32 [N, D].

    Each modality is standardised with the support's statistics and gets equal length, so that the product of two rows
    is the mean of the modalities' cosines.
    """

    def __init__(self, inputs: Inputs):
        self._scales = [(part.mean(axis=0), np.maximum(part.std(axis=0), 1e-6)) for part in inputs]

    def __call__(self, inputs: Inputs) -> np.ndarray:
        parts = []
        for part, (mean, deviation) in zip(inputs, self._scales, strict=True):
            scaled = (part - mean) / deviation
            parts.append(scaled / np.maximum(np.linalg.norm(scaled, axis=1, keepdims=True), 1e-6))
        return np.concatenate(parts, axis=1) / np.sqrt(np.float32(len(parts)))


_L2 = (0.1, 0.01, 1.0)
# Weight of each probe with one picture a label; chosen on `val` of the demo and of photographs.
ONE_SHOT = 0.2
MOST_FOLDS = 5
_SHARPNESS = (5.5, 2.0, 12.0)  # the first value is from Tip-Adapter

METHODS = {
    "linear_probe": Method(linear_probe, 1, _L2),
    "multimodal_pool": Method(pool, 3, _L2[:1]),
    "multimodal_linear_probe": Method(linear_probe, 2, _L2),
    "multimodal_mlp": Method(fusion_head, 2),
    "visual_cache": Method(cache, 1, _SHARPNESS),
    "multimodal_cache": Method(cache, 2, _SHARPNESS),
    "prototypes": Method(prototypes, 2),
}
