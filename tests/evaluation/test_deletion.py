"""Removal of phrases by share and at random."""

import shutil

import numpy as np
import pytest
import tensorflow as tf

import ctxvision as cv
from ctxvision.evaluation import deletion as module
from ctxvision.evaluation.deletion import Explained, deletion
from ctxvision.metrics.records import select
from ctxvision.training.progress import Progress


@pytest.fixture(scope="module")
def run(tiny_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("deletion") / "run"
    shutil.copytree(tiny_run.directory, folder)
    return cv.Run(folder)


@pytest.fixture(scope="module")
def records(run):
    return deletion(run, Progress(), seeds=1)


def test_the_fall_is_what_the_classifier_says_without_the_first_phrase(run, records):
    """Explanations computed by `explain` from pixels."""
    found = select(records, method="first", split="easy", metric="probability_fall")
    model, pixels = run.classifier, tf.constant(run.data.pictures("test:easy"))
    told = cv.explain(model, pixels, top=1)
    queries, visual = model.embed(pixels)
    context = model.find_context(queries)
    removed = tf.argmax(told["shares"][:, 0], axis=1)[:, tf.newaxis] == tf.range(3, dtype=tf.int64)
    pooled = model.pooling([context.embeddings, tf.where(removed, -1.0, context.scores)])
    without = tf.gather(model.fuse(visual, pooled, queries), told["label_ids"][:, 0], batch_dims=1)
    assert [one.seed for one in found] == [run.config.seed]
    fall = tf.reduce_mean(told["scores"][:, 0] - without)
    assert found[0].value == pytest.approx(float(fall), abs=1e-4)


def test_what_is_recorded(run, records):
    for split in ("easy", "hard"):
        here = select(records, split=split)
        falls = {one.method: one for one in select(here, metric="probability_fall")}
        assert set(falls) == {"first", "random", "first_on_other_head", "random_on_other_head"}
        assert falls["first_on_other_head"].seed == run.config.seed + 1
        for method, base in (("first", "random"), ("first_on_other_head", "random_on_other_head")):
            own = select(here, method=method)
            (mean,) = select(own, metric="probability_fall_over_random")
            assert mean.value == pytest.approx(falls[method].value - falls[base].value, abs=1e-6)
            assert 0 < select(own, metric="p_value")[0].value <= 1
            curve = [one.value for one in own if one.metric.startswith("probability_fall/")]
            assert curve[0] == falls[method].value


def test_a_second_call_measures_nothing(run, records, monkeypatch):
    monkeypatch.setattr(module, "head_of", None)
    monkeypatch.setattr(module, "explain_found", None)
    assert deletion(run, Progress(), seeds=1) == records


def test_which_phrases_are_removed(run, monkeypatch):
    """A head that sums marks of the remaining phrases shows which phrases were removed."""
    explained = Explained(
        visual=np.zeros((50, 2), np.float32),
        queries=np.zeros((50, 2), np.float32),
        ids=np.tile(np.arange(4, dtype=np.int32), (50, 1)),
        scores=np.tile(np.array([0.9, 0.8, 0.7, -1.0], np.float32), (50, 1)),
        shares=np.tile(np.array([0.1, 0.3, -0.2, 0.9], np.float32), (50, 1)),
        labels=np.zeros(50, np.int32),
    )

    def marks(pooling, head, visual, queries, embeddings, scores, removed):
        left = tf.cast(~removed & (scores[:, tf.newaxis] > -1), tf.float32)
        return tf.linalg.matvec(left, tf.constant([1.0, 10.0, 100.0, 1000.0]))[..., tf.newaxis]

    monkeypatch.setattr(module, "without_phrases", marks)
    falls = module._falls(run, explained, None, [1, 2], seed=0)
    # By share: phrase 1, then 0; phrase 3 is missing. At random: phrase 0 or 2, then both.
    assert set(map(tuple, falls["first"])) == {(10.0, 11.0)}
    assert set(map(tuple, falls["random"])) == {(1.0, 101.0), (100.0, 101.0)}


def test_pictures_with_one_phrase_cannot_be_tested(run, monkeypatch):
    def one_phrase(model, found, visual, queries, top):
        absent = tf.fill([len(visual), 3], -1.0)
        keys = {"shares": absent[:, tf.newaxis], "label_ids": tf.zeros([len(visual), 1], tf.int32)}
        return {"phrase_scores": absent, "phrase_ids": tf.zeros([len(visual), 3], tf.int32), **keys}

    monkeypatch.setattr(module, "explain_found", one_phrase)
    monkeypatch.setattr(
        module, "Kept", lambda *_: type("None", (), {"arrays": lambda _, name, measure: measure()})()
    )
    with pytest.raises(
        cv.InputError, match="suite deletion needs pictures with two phrases or more, got none in test:easy"
    ):
        deletion(run, Progress(), seeds=1)
