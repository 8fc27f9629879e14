"""The words that stand for a label where no labelled picture does."""

import unicodedata
from typing import NamedTuple

import numpy as np

from ctxvision.classifier.run import Run


class Terms(NamedTuple):
    """The terms of all labels in one list of length T.

    Attributes:
        texts: written as queries are: lower-cased, NFC-normalised, whitespace collapsed.
        labels: int [T], the number of each term's label.
    """

    texts: list[str]
    labels: np.ndarray

    def per_label(self, scores: np.ndarray, closest: bool = True) -> np.ndarray:
        """float [N, L] of float [N, T]: each label's score is its closest term's, or the mean of its terms'."""
        columns = [scores[:, self.labels == label] for label in range(self.labels.max() + 1)]
        return np.stack([part.max(axis=1) if closest else part.mean(axis=1) for part in columns], axis=1)


def terms_of(run: Run) -> Terms:
    """The synset terms of every label of the run; the label's own name where it has none."""
    given = run.data.manifest.label_terms
    rows = []
    for number, label in enumerate(run.data.labels):
        texts = [text for text in map(_as_query, given.get(label, [])) if text]
        rows += [(number, text) for text in dict.fromkeys(texts or [_as_query(label)])]
    return Terms([text for _, text in rows], np.array([number for number, _ in rows]))


def _as_query(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).lower().split())
