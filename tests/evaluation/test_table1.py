"""The inputs of each row of the table."""

import numpy as np
import pytest

from ctxvision.evaluation.features import NO_LABEL_WORDS, Features, shuffled
from ctxvision.evaluation.methods import METHODS, inputs_of, methods_of
from ctxvision.training.progress import Progress


@pytest.fixture
def features(tiny_run):
    return Features(tiny_run, Progress())


def test_phrases_without_label_words(tiny_run, features):
    # The labels are "red label", "green label"...; their synset terms are the colours.
    kept = set(features.table(NO_LABEL_WORDS).phrases)
    assert kept == {phrase for phrase in tiny_run.context.phrase_table.phrases if "square" not in phrase}
    assert methods_of(features) == METHODS


def test_a_vocabulary_of_label_words_alone(tiny_run, features, monkeypatch):
    terms = tiny_run.data.manifest.label_terms
    monkeypatch.setitem(terms, "anything", list(tiny_run.context.phrase_table.phrases))
    assert features.table(NO_LABEL_WORDS) is None
    assert methods_of(features) == {n: m for n, m in METHODS.items() if n != "multimodal_no_label_words"}


def test_the_most_searched_phrases(tiny_run, features):
    counts = dict(zip(tiny_run.context.phrase_table.phrases, tiny_run.context.phrase_table.counts))
    languages = dict(zip(tiny_run.context.phrase_table.phrases, tiny_run.context.phrase_table.languages))
    english = sorted((p for p in counts if languages[p] == "en"), key=lambda p: -counts[p])
    assert set(features.table(5).phrases) == set(english[:5])


def test_shuffled_rows_are_the_same_rows_in_another_order_for_each_split_and_seed(features):
    rows = features.bottleneck("train")
    orders = [shuffled(rows, split, seed) for split, seed in (("train", 0), ("val", 0), ("train", 1))]
    assert all(sorted(order.tolist()) == sorted(rows.tolist()) for order in orders)
    assert len({order.tobytes() for order in orders} | {rows.tobytes()}) == 4


def test_what_each_row_sees(features):
    def seen(name):
        return inputs_of(features, METHODS[name], "val", 1.0, seed=0)

    visual, context, query = seen("multimodal")
    np.testing.assert_array_equal(visual, features.visual("val", 1.0))
    np.testing.assert_array_equal(context, features.context("val"))
    np.testing.assert_array_equal(query, features.bottleneck("val"))
    assert [len(seen(name)) for name in ("visual_only", "text_only", "multimodal_concat")] == [1, 1, 2]
    same, other_context, other_query = seen("shuffled_phrases")
    np.testing.assert_array_equal(same, visual)
    # Context and query embedding come from the same other picture.
    rows = [np.flatnonzero((query == row).all(axis=1))[0] for row in other_query]
    np.testing.assert_array_equal(query[rows], other_query)
    np.testing.assert_array_equal(context[rows], other_context)
    assert not np.array_equal(other_query, query)
