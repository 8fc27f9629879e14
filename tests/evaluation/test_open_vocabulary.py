"""Phrases as answers against plain loops."""

import dataclasses

import numpy as np
import pytest

from ctxvision.context.quality import true_queries
from ctxvision.errors import InputError
from ctxvision.evaluation import open_vocabulary as module
from ctxvision.evaluation.open_vocabulary import open_vocabulary
from ctxvision.evaluation.phrase_hits import found_phrases, measure_phrases
from ctxvision.metrics.records import load_records, select
from ctxvision.training.progress import Progress

SPLIT = "test:easy"


@pytest.fixture(scope="module")
def shallow():
    """The tiny run has eight English phrases."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "DEPTHS", (1, 3, 5))
        patch.setattr(module, "BUCKETS", (1, 5))
        yield


@pytest.fixture(scope="module")
def records(tiny_run, shallow):
    return open_vocabulary(tiny_run, Progress(), seeds=2)


def value(records, metric, method="phrase_generator"):
    (record,) = select(records, split="easy", method=method, metric=metric, seed=None)
    return record.value


def test_by_the_true_queries(tiny_run, records):
    rows = tiny_run.data.split(SPLIT)
    truth = [{query.text for query in queries} for queries in rows.queries]
    found = found_phrases(tiny_run, SPLIT, 5)
    for k in (1, 3, 5):
        hits = [any(phrase in queries for phrase in line[:k]) for line, queries in zip(found, truth)]
        assert value(records, f"hit@{k}") == pytest.approx(np.mean(hits))
    places = [
        next((1 / (i + 1) for i, phrase in enumerate(line) if phrase in queries), 0.0)
        for line, queries in zip(found, truth)
    ]
    assert value(records, "mrr@5") == pytest.approx(np.mean(places))
    # Each query has 24 web pictures, so all queries are in one bucket.
    assert value(records, "hit@5/count_5+") == value(records, "hit@5")
    assert not select(records, metric="hit@5/count_1-4")


def test_by_the_labels(tiny_run, records):
    rows = tiny_run.data.split(SPLIT)
    first = [line[0] for line in found_phrases(tiny_run, SPLIT, 1)]
    terms = tiny_run.data.manifest.label_terms
    words = {label: set(terms[label][0].split()) for (label,) in rows.labels}
    shared = [
        len(words[label] & set(phrase.split())) / len(words[label] | set(phrase.split()))
        for phrase, (label,) in zip(first, rows.labels)
    ]
    assert value(records, "semantic_iou") == pytest.approx(np.mean(shared))
    encode = tiny_run.context.text_encoder
    similar = [
        float(np.dot(encode([phrase])[0], encode([terms[label][0]])[0]))
        for phrase, (label,) in zip(first, rows.labels)
    ]
    assert value(records, "semantic_similarity") == pytest.approx(np.mean(similar), abs=1e-5)
    assert 0.25 <= value(records, "cluster_accuracy") <= 1


def test_shuffled_phrases_say_less(records):
    control = [r.value for r in select(records, split="easy", method="shuffled_phrases", metric="hit@1")]
    assert len(control) == 2 and max(control) < value(records, "hit@1")
    assert {r.seed for r in select(records, method="shuffled_phrases")} == {0, 1}


def test_too_few_phrases(tiny_run, monkeypatch):
    monkeypatch.setattr(module, "DEPTHS", (1, 3, 9))
    with pytest.raises(
        InputError, match="needs a vocabulary of at least 9 phrases, got 8: give more queries"
    ):
        open_vocabulary(tiny_run, Progress(), seeds=1)


def test_without_true_queries_only_labels_judge(tiny_run, shallow, monkeypatch):
    monkeypatch.setattr(module, "true_queries", lambda data, split: None)
    metrics = {record.metric for record in open_vocabulary(tiny_run, Progress(), seeds=1)}
    assert metrics == {"cluster_accuracy", "semantic_similarity", "semantic_iou"}


def test_labels_of_web_pictures_stand_in_for_queries(tiny_run, monkeypatch):
    rows, web = tiny_run.data.split(SPLIT), tiny_run.data.split("web")
    silent = dataclasses.replace(rows, queries=[()] * len(rows))
    colours = [next(q.text.split()[0] for q in queries if "square" in q.text) for queries in web.queries]
    labelled = dataclasses.replace(web, labels=[(f"{colour} label",) for colour in colours])
    monkeypatch.setitem(tiny_run.data.manifest.by_split, "web", labelled)
    monkeypatch.setattr(tiny_run.data, "split", {SPLIT: silent}.__getitem__)
    truth = dict(zip([label for (label,) in rows.labels], true_queries(tiny_run.data, SPLIT)))
    assert truth["red label"] == {"red square", "ripe tomato", "rojo"}
    monkeypatch.setitem(tiny_run.data.manifest.by_split, "web", web)
    assert true_queries(tiny_run.data, SPLIT) is None


def test_the_suite_phrases_is_as_it_was(tiny_run, shallow, records):
    before = select(load_records(tiny_run.directory / "metrics.json"), suite="phrases")
    assert {record.metric for record in before} == {"hit@1", "hit@3"}
    for k in (1, 3):
        (old,) = select(before, split="easy", metric=f"hit@{k}")
        assert old.value == value(records, f"hit@{k}")
    assert measure_phrases.__doc__
