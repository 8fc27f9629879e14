"""Maps words outside the vocabulary into the query space (section 4.3)."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

# Candidates of the two models' settings.
PENALTIES = (1.0, 10.0, 100.0)
SHARPNESSES = (5.0, 10.0, 20.0, 40.0)

Model = Callable[[np.ndarray], np.ndarray]


class TextToQuery(NamedTuple):
    """A model from text embeddings to the query space, chosen on held-out phrases.

    Attributes:
        name: name of the model, such as "ridge 10" or "neighbours 20".
        cosine: mean cosine between predicted and true prototypes of held-out phrases, weighted as in training.
        model: function from float32 [T, text_dim] to [T, 64].
    """

    name: str
    cosine: float
    model: Model

    def __call__(self, texts: np.ndarray) -> np.ndarray:
        """Returns float32 [T, 64], L2-normalised, of text embeddings [T, text_dim]; zeros for a text of zeros."""
        known = np.linalg.norm(texts, axis=1, keepdims=True) > 0
        return _normalised(self.model(texts)) * known


def fit_text_to_query(
    texts: np.ndarray, prototypes: np.ndarray, counts: np.ndarray, seed: int = 0
) -> TextToQuery:
    """Learns the prototype of a phrase from its text embedding.

    Tries two kinds of models: ridge regression, and the mean of all prototypes weighted by softmax(sharpness · cosine
    of the texts). A phrase of n pictures has the weight n / (n + 1). The model with the highest cosine on a held-out
    tenth of the phrases is fitted again on all of them.

    Args:
        texts: float32 [N, text_dim], text embeddings of the phrases.
        prototypes: float32 [N, 64], L2-normalised.
        counts: int [N], number of pictures behind each prototype.
        seed: seed of the held-out tenth.

    Raises:
        ValueError: there are fewer than 2 phrases.
    """
    if len(texts) < 2:
        raise ValueError(
            f"texts must be at least 2 phrases to learn from, got {len(texts)}: give more phrases."
        )
    weights = counts / (counts + 1.0)
    order = np.random.default_rng(seed).permutation(len(texts))
    held, kept = np.split(order, [max(1, len(order) // 10)])

    def cosine(model: Model) -> float:
        found = _normalised(model(texts[held]))
        return float(np.average((found * prototypes[held]).sum(axis=1), weights=weights[held]))

    kinds = [("ridge", ridge, p) for p in PENALTIES] + [("neighbours", neighbours, s) for s in SHARPNESSES]
    tried = [
        (cosine(fit(texts[kept], prototypes[kept], weights[kept], value)), f"{name} {value:g}", fit, value)
        for name, fit, value in kinds
    ]
    best, name, fit, value = max(tried, key=lambda one: one[0])
    return TextToQuery(name, best, fit(texts, prototypes, weights, value))


def ridge(texts: np.ndarray, prototypes: np.ndarray, weights: np.ndarray, penalty: float) -> Model:
    """Fits the W that minimises Σ weight · |text · W − prototype|² + penalty · |W|²."""
    weighted = texts * weights[:, np.newaxis]
    matrix = np.linalg.solve(weighted.T @ texts + penalty * np.eye(texts.shape[1]), weighted.T @ prototypes)
    return lambda new: new @ matrix


def neighbours(texts: np.ndarray, prototypes: np.ndarray, weights: np.ndarray, sharpness: float) -> Model:
    """Averages the prototypes, weighted by weight · exp(sharpness · cosine of the texts) (Nadaraya-Watson)."""

    def model(new: np.ndarray) -> np.ndarray:
        similarity = sharpness * (new @ texts.T)
        likeness = weights * np.exp(similarity - similarity.max(axis=1, keepdims=True))
        return likeness @ prototypes / likeness.sum(axis=1, keepdims=True)

    return model


def _normalised(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
