"""Scores labels by their terms, so that a label needs no labelled picture (section 4.3)."""

import unicodedata
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ctxvision.classifier.run_folder import RunFolder
from ctxvision.context.context import Context
from ctxvision.context.text_to_query import fit_text_to_query
from ctxvision.layers import LabelTerms, TermPlaces

# Largest number of terms per label; a classifier ignores further terms.
MOST_TERMS = 20
_ROWS = 2048  # pictures scored at a time
# Largest number of phrases that the text model learns from; the ones with the most pictures are used.
MOST_PHRASES = 20000
# Share of the text space in a term's score in a classifier; chosen on `val` of the demo and of photographs.
TEXT_SHARE = 0.5


class Terms(NamedTuple):
    """The terms of all labels in one list of length T.

    Attributes:
        texts: the terms, normalised like queries: lower case, NFC, single spaces.
        labels: int [T], the label number of each term.
    """

    texts: list[str]
    labels: np.ndarray

    def per_label(self, scores: np.ndarray, closest: bool = True) -> np.ndarray:
        """Reduces scores [N, T] to float [N, L]: the score of each label's closest term, or the mean over its terms."""
        columns = [scores[:, self.labels == label] for label in range(self.labels.max() + 1)]
        return np.stack([part.max(axis=1) if closest else part.mean(axis=1) for part in columns], axis=1)


def terms_of(labels: Sequence[str], label_terms: Mapping[str, Sequence[str]]) -> Terms:
    """Returns the terms of every label; a label without terms has its own name as its term."""
    rows = []
    for number, label in enumerate(labels):
        texts = [text for text in map(_as_query, label_terms.get(label, [])) if text]
        rows += [(number, text) for text in dict.fromkeys(texts or [_as_query(label)])]
    return Terms([text for _, text in rows], np.array([number for number, _ in rows]))


class PlacedTerms(NamedTuple):
    """Terms with their places in query space and text space.

    Attributes:
        terms: the T terms.
        queries: float32 [T, Q], L2-normalised: the prototype of a term that is a phrase of the vocabulary, else the
            prediction of the text model.
        predicted: float32 [T, Q], L2-normalised: the predictions of the text model, which was fitted without these
            terms.
        texts: float32 [T, text_dim], L2-normalised text embeddings; zeros for unknown words.
        in_vocabulary: bool [T], the terms that are phrases of the vocabulary.
    """

    terms: Terms
    queries: np.ndarray
    predicted: np.ndarray
    texts: np.ndarray
    in_vocabulary: np.ndarray

    @property
    def known(self) -> np.ndarray:
        """bool [T], the terms that are phrases or have known words; other terms say nothing."""
        return self.in_vocabulary | (np.linalg.norm(self.texts, axis=1) > 0)

    def known_only(self) -> "PlacedTerms":
        """Returns the known terms."""
        texts = [text for text, known in zip(self.terms.texts, self.known) if known]
        terms = Terms(texts, self.terms.labels[self.known])
        return PlacedTerms(terms, *(part[self.known] for part in self[1:]))

    def scores(self, queries: np.ndarray, contexts: np.ndarray, text_share: float) -> np.ndarray:
        """Returns float [N, T]: the cosines in query space and in text space, averaged with weight `text_share`.

        Args:
            queries: float32 [N, Q], query embeddings.
            contexts: float32 [N, text_dim], context vectors.
            text_share: weight of the text space, 0..1.
        """
        about = contexts / np.maximum(np.linalg.norm(contexts, axis=1, keepdims=True), 1e-9)
        return (1 - text_share) * (queries @ self.queries.T) + text_share * (about @ self.texts.T)

    def for_model(
        self, num_labels: int, queries: np.ndarray, contexts: np.ndarray, least: int = 1
    ) -> TermPlaces:
        """Returns the weights of `ContextFusion.label_terms`.

        Args:
            num_labels: L.
            queries, contexts: of the pictures of `train`, see `scores`.
            least: smallest number of terms that each label gets room for.
        """
        usual = self.scores(queries, contexts, TEXT_SHARE).mean(axis=0)
        rows = [
            np.flatnonzero(self.known & (self.terms.labels == label))[:MOST_TERMS]
            for label in range(num_labels)
        ]
        most = max(least, *(len(row) for row in rows))
        padded = np.array([np.resize(row, most) if len(row) else np.zeros(most, int) for row in rows])
        joined = np.concatenate([(1 - TEXT_SHARE) * self.queries, TEXT_SHARE * self.texts], axis=1)
        known = np.array([len(row) > 0 for row in rows], np.float32)
        return TermPlaces(joined[padded].astype(np.float32), usual[padded].astype(np.float32), known)


def place_terms(context: Context, terms: Terms, seed: int = 0) -> PlacedTerms:
    """Finds the places of terms in query space and in text space.

    Args:
        context: a context whose stage `text` is finished.
        terms: the terms of labels.
        seed: seed of the phrases on which the text model is chosen.
    """
    table = context.phrase_table
    texts, rows = context.embed_texts(terms.texts), table.ids(terms.texts)
    learnt, counts = np.setdiff1d(context.retrievable_ids(), rows), np.asarray(table.counts)
    learnt = learnt[np.argsort(-counts[learnt], kind="stable")[:MOST_PHRASES]]
    prototypes = np.asarray(table.prototypes, np.float32)
    in_vocabulary, predicted = rows >= 0, np.zeros([len(rows), prototypes.shape[1]], np.float32)
    if len(learnt) >= 2:  # fewer phrases cannot fit a text model
        text_model = fit_text_to_query(
            context.text_embeddings(learnt), prototypes[learnt], counts[learnt], seed
        )
        predicted = text_model(texts)
    queries = np.where(in_vocabulary[:, np.newaxis], prototypes[np.maximum(rows, 0)], predicted)
    return PlacedTerms(terms, queries, predicted, texts, in_vocabulary)


def _as_query(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).lower().split())


def scores_by_terms(places: TermPlaces, contexts: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Returns scores float32 [N, L] of contexts [N, text_dim] and query embeddings [N, Q]; see `LabelTerms`."""
    layer = LabelTerms(len(places.known), places.places.shape[1])
    layer([tf.constant(contexts[:1]), tf.constant(queries[:1])])
    layer.assign(places)
    starts = range(0, len(contexts), _ROWS)
    return np.concatenate([layer([contexts[i : i + _ROWS], queries[i : i + _ROWS]]) for i in starts])


def terms_of_run(
    run: RunFolder,
    inputs: Sequence[np.ndarray],
    labels: Sequence[str] | None = None,
    more: Mapping[str, Sequence[str]] | None = None,
    least: int = 1,
) -> TermPlaces:
    """Returns the places of the terms of a run's labels.

    Args:
        run: the run whose data and context are used.
        inputs: visual features, context and query embedding of the pictures of `train`.
        labels: all labels including those of concepts; the labels of the data by default.
        more: further terms of labels, in addition to those of the data.
        least: smallest number of terms that each label gets room for.
    """
    labels = run.data.labels if labels is None else labels
    known = dict(run.data.manifest.label_terms)
    for label, words in (more or {}).items():
        own = known.get(label) or ([label] if label in run.data.labels else [])
        known[label] = [*own, *words]
    placed = place_terms(run.context, terms_of(labels, known), run.config.seed)
    return placed.for_model(len(labels), inputs[2], inputs[1], least)
