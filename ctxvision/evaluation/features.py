"""Inputs of the heads, computed once: visual features, query embeddings and contexts."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ctxvision.classifier.run import Run
from ctxvision.classifier.terms import terms_of_run
from ctxvision.classifier.visual import train_visual, was_trained
from ctxvision.context.context import Context
from ctxvision.context.pooled import contexts_of
from ctxvision.errors import InputError
from ctxvision.evaluation.web_features import WebFeatures
from ctxvision.layers import TermPlaces
from ctxvision.training.cached_features import CachedFeatures
from ctxvision.training.progress import Progress
from ctxvision.vocabulary import PhraseTable

# Named vocabularies; a number n means the n most searched phrases.
ALL, CLASSES, NO_LABEL_WORDS, LABEL_WORDS = "all", "classes", "no_label_words", "label_words"


class ContextRecipe(NamedTuple):
    """How phrases become a context.

    Attributes:
        vocabulary: a named vocabulary, or the number of most searched phrases.
        k: phrases a picture.
        weighting: weighting of the phrases, "uniform" or "similarity".
    """

    vocabulary: str | int
    k: int
    weighting: str


class Features:
    """Features of a run's splits, kept in memory; trains missing visual encoders.

    Args:
        run: a run whose stages are finished.
        progress: shows the suite's progress.
        context: gives phrases and query embeddings; the run's own by default.
        fine_tune: whether `web` may be fine-tuned, see `WebFeatures`.

    Attributes:
        web: features of the phrase generator's ConvNet.
    """

    def __init__(self, run: Run, progress: Progress, context: Context | None = None, fine_tune: bool = True):
        self.run, self.progress = run, progress
        self.source = context or run.context
        self.chosen = ContextRecipe(ALL, run.choice.k, run.choice.weighting)
        self.web = WebFeatures(run, progress, fine_tune)
        self._contexts: dict[tuple[str, ContextRecipe], np.ndarray] = {}
        self._tables: dict[str | int, PhraseTable | None] = {ALL: self.source.phrase_table}

    def labels(self, split: str) -> np.ndarray:
        """Returns the label numbers of a split, int32 [N]."""
        return self.run.data.label_ids(split)

    def distinct(self, fractions: Sequence[float]) -> Sequence[float]:
        """Returns the fractions whose visual encoders differ: a frozen encoder is the same at each of them."""
        largest = max(self.run.config.fractions)
        return fractions if was_trained(self.run, largest) else [largest]

    def visual(self, split: str, fraction: float) -> np.ndarray:
        """Returns the visual features float32 [N, D] of the encoder of a fraction; trains a missing encoder."""
        if not self.run.stages.is_done(f"visual/{fraction:g}"):
            train_visual(self.run, fraction, self.progress)
        return self.run.visual_features(split, fraction, self.progress)

    def bottleneck(self, split: str) -> np.ndarray:
        """Returns the query embeddings of a split, float32 [N, 64], L2-normalised."""
        if self.source is self.run.context:
            return self.run.query_embeddings(split)
        cached = CachedFeatures(self.run.directory / "features", self.run.data.pictures)
        name = f"queries-{self.source.fingerprint}"
        return cached.of(name, lambda: self.source.phrase_generator, split, shared=True)

    def context(self, split: str, context: ContextRecipe | None = None) -> np.ndarray:
        """Returns the context vectors of a split, float32 [N, 200]; by default those of the run's classifier.

        Raises:
            InputError: the vocabulary has fewer phrases than the recipe needs.
        """
        context = context or self.chosen
        if (split, context) not in self._contexts:
            table = self.table(context.vocabulary)
            found = 0 if table is None else self.source.num_retrievable(table)
            if found < context.k:
                raise InputError(
                    f"vocabulary {context.vocabulary!r} must have at least {context.k} phrases for context, got "
                    f"{found}: give more queries."
                )
            queries, recipe = self.bottleneck(split), (context.k, context.weighting)
            self._contexts[split, context] = contexts_of(self.source, queries, *recipe, table)[0]
        return self._contexts[split, context]

    @functools.cached_property
    def terms(self) -> TermPlaces:
        """Places of the labels' terms, as in the run's own head."""
        inputs = [self.visual("train", max(self.run.config.fractions))]
        return terms_of_run(self.run, [*inputs, self.context("train"), self.bottleneck("train")])

    def table(self, vocabulary: str | int) -> PhraseTable | None:
        """Returns the phrase table of a vocabulary, or None if it is empty."""
        if vocabulary not in self._tables:
            table = self.source.phrase_table
            if vocabulary == NO_LABEL_WORDS:
                kept = self._without_label_words
            elif vocabulary == LABEL_WORDS:
                kept = table.live & ~self._without_label_words
            elif vocabulary == CLASSES:
                classes = set(self.source.classes)
                kept = table.live & [phrase in classes for phrase in table.phrases]
            else:
                kept = self._most_searched(int(vocabulary))
            self._tables[vocabulary] = table.take(np.flatnonzero(kept)) if kept.any() else None
        return self._tables[vocabulary]

    @functools.cached_property
    def _without_label_words(self) -> np.ndarray:
        run, table = self.run, self.source.phrase_table
        names = [*run.data.labels, *(t for terms in run.data.manifest.label_terms.values() for t in terms)]
        words = {word for name in names for word in words_of(name)}
        return table.live & [not words & words_of(phrase) for phrase in table.phrases]

    def _most_searched(self, number: int) -> np.ndarray:
        """Marks the retrievable phrases with the most pictures, bool [rows]; of equal counts the first phrase wins."""
        table = self.source.phrase_table
        ids = self.source.retrievable_ids(table)
        kept = np.zeros(len(table), bool)
        kept[ids[np.argsort(-np.asarray(table.counts)[ids], kind="stable")[:number]]] = True
        return kept


def words_of(phrase: str) -> set[str]:
    """Returns the words of three letters or more, without a plural s: "cat faces" -> {"cat", "face"}."""
    words = "".join(c if c.isalnum() else " " for c in phrase.lower()).split()
    return {word.removesuffix("s") for word in words if len(word) > 2}


def shuffled(features: np.ndarray, split: str, seed: int) -> np.ndarray:
    """Permutes the rows, so that a picture gets the row of another picture.

    The permutation depends on the split, because two splits can show the same things in the same order.
    """
    return np.random.default_rng([seed, *split.encode()]).permutation(features)


def short_name(split: str) -> str:
    """Returns the reported name of a split: "test:seen" -> "seen"."""
    return split.partition(":")[2] or split
