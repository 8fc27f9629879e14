"""The phrases of each kind of context."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import ctxvision as cv
from ctxvision.evaluation import knowledge as module
from ctxvision.evaluation.features import LABEL_WORDS, Features
from ctxvision.evaluation.knowledge import knowledge, methods_of, true_context
from ctxvision.training.progress import Progress


class FakeHeads:
    """Records the inputs of each head."""

    asked: dict[str, list[np.ndarray]] = {}

    def ranks(self, name, inputs, seed, stages):
        self.asked[name] = inputs("test:easy")
        inputs("train")
        return {"test:easy": np.zeros(4, int)}

    def accuracy(self, ranks, **keys):
        return []

    def gain(self, ranks, base, over, **keys):
        return []


def test_phrases_with_label_words(tiny_run):
    table = Features(tiny_run, Progress()).table(LABEL_WORDS)
    assert set(table.phrases) == {
        phrase for phrase in tiny_run.context.phrase_table.phrases if "square" in phrase
    }


def test_the_oracle_is_there_only_where_pictures_carry_queries(tiny_run, monkeypatch):
    features = Features(tiny_run, Progress())
    assert "oracle" not in methods_of(features)  # pictures of `train` have no queries
    train = tiny_run.data.split("train")
    queries = [tiny_run.data.split("test:easy").queries[0]] * len(train.paths)
    part = dataclasses.replace(train, queries=queries), tiny_run.data.pictures("train")
    monkeypatch.setitem(tiny_run.data._loaded, "train", part)
    assert methods_of(features)[-1] == "oracle"

    heads = FakeHeads()
    monkeypatch.setattr(module, "Heads", lambda *_, **__: heads)
    knowledge(tiny_run, Progress(), seeds=1)
    assert {name: len(parts) for name, parts in heads.asked.items()} == {
        "visual_only": 1,
        "multimodal": 2,
        "multimodal_no_label_words": 2,
        "label_words_only": 2,
        "text_only": 1,
        "oracle": 2,
    }
    np.testing.assert_array_equal(heads.asked["oracle"][1], true_context(tiny_run, "test:easy"))


def test_the_true_context_is_the_mean_of_the_own_queries_in_the_runs_languages(tiny_run):
    context = true_context(tiny_run, "test:easy")
    # The first picture is red. Its Spanish query is outside of the run's languages.
    expected = tiny_run.context.text_encoder(tf.constant(["red square", "ripe tomato"])).numpy().mean(axis=0)
    np.testing.assert_allclose(context[0], expected, atol=1e-6)
    with pytest.raises(
        cv.InputError, match="the oracle needs queries of the pictures of train, got none in en"
    ):
        true_context(tiny_run, "train")


def test_a_vocabulary_of_label_words_alone_leaves_the_other_row_out(tiny_run, monkeypatch):
    terms = tiny_run.data.manifest.label_terms
    monkeypatch.setitem(terms, "anything", list(tiny_run.context.phrase_table.phrases))
    methods = methods_of(Features(tiny_run, Progress()))
    assert "multimodal_no_label_words" not in methods and "label_words_only" in methods
