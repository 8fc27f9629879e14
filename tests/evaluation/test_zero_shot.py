"""Zero-shot classification against plain loops."""

import numpy as np
import pytest
import tensorflow as tf

from ctxvision.classifier.terms import Terms, terms_of
from ctxvision.context.text_to_query import fit_text_to_query
from ctxvision.evaluation.features import ALL, ContextRecipe, Features
from ctxvision.evaluation.zero_shot import ZeroShotScores, zero_shot
from ctxvision.metrics.records import select
from ctxvision.training.progress import Progress


@pytest.fixture(scope="module")
def records(tiny_run):
    return zero_shot(tiny_run, Progress(), seeds=2)


@pytest.fixture
def terms(tiny_run, monkeypatch):
    """Terms: a phrase of the table, two other terms, and a label without terms."""
    given = {"red label": ["Ripe  Tomato", "red"], "blue label": ["deep ocean", ""], "green label": []}
    monkeypatch.setitem(tiny_run.data.manifest.__dict__, "label_terms", given)
    return given


def test_closest_term_and_mean_of_terms():
    terms = Terms(["a", "b", "c"], np.array([1, 0, 1]))
    scores = np.array([[0.1, 0.3, 0.9]])
    assert terms.per_label(scores).tolist() == [[0.3, 0.9]]
    np.testing.assert_allclose(terms.per_label(scores, closest=False), [[0.3, 0.5]])


def test_terms_are_written_as_queries_and_names_stand_in(tiny_run, terms):
    found = terms_of(tiny_run.data.labels, tiny_run.data.manifest.label_terms)
    assert tiny_run.data.labels == ["blue label", "green label", "red label", "yellow label"]
    assert found.texts == ["deep ocean", "green label", "ripe tomato", "red", "yellow label"]
    assert found.labels.tolist() == [0, 1, 2, 2, 3]


def test_terms_lie_at_their_prototype_or_where_the_text_model_puts_them(tiny_run, terms):
    scores = ZeroShotScores(Features(tiny_run, Progress()))
    assert scores.placed.in_vocabulary.tolist() == [False, False, True, False, False]
    table = tiny_run.context.phrase_table
    tomato = np.asarray(table.prototypes)[table.ids(["ripe tomato"])[0]]
    np.testing.assert_array_equal(scores.placed.queries[2], tomato)
    np.testing.assert_array_equal(scores.placed.queries[[0, 1, 3, 4]], scores.placed.predicted[[0, 1, 3, 4]])


def test_the_text_model_has_seen_no_term(tiny_run, terms, monkeypatch):
    learnt = []

    def fit(texts, prototypes, counts, seed):
        learnt.append((texts, prototypes, counts))
        return fit_text_to_query(texts, prototypes, counts, seed)

    monkeypatch.setattr("ctxvision.classifier.terms.fit_text_to_query", fit)
    ZeroShotScores(Features(tiny_run, Progress()))
    table = tiny_run.context.phrase_table
    rows = [i for i in tiny_run.context.retrievable_ids() if table.phrases[i] != "ripe tomato"]
    assert len(rows) == tiny_run.context.num_retrievable() - 1
    columns = (tiny_run.context.text_embeddings(np.arange(len(table))), table.prototypes, table.counts)
    for found, column in zip(learnt[0], columns):
        np.testing.assert_allclose(found, np.asarray(column)[rows], atol=1e-6)


def test_scores_by_hand(tiny_run, terms):
    features = Features(tiny_run, Progress())
    scores = ZeroShotScores(features)
    context = ContextRecipe(ALL, 5, "similarity")
    texts = tiny_run.context.embed_texts(list(tiny_run.context.phrase_table.phrases))

    def by_term(split):
        embeddings = features.bottleneck(split)
        found = tiny_run.context.retrieval(5)(tf.constant(embeddings))
        rows = []
        for embedding, ids, cosines in zip(embeddings, found.ids.numpy(), found.scores.numpy()):
            here = [i for i in range(5) if ids[i] >= 0]
            about = sum(np.exp(16 * cosines[i]) * texts[ids[i]] for i in here)
            about = about / np.linalg.norm(about)
            rows.append(
                [
                    0.25 * embedding @ scores.placed.queries[t] + 0.75 * about @ scores.placed.texts[t]
                    for t in range(5)
                ]
            )
        return np.array(rows)

    told = by_term("val") - by_term("train").mean(axis=0)
    expected = np.stack([told[:, 0], told[:, 1], told[:, 2:4].max(axis=1), told[:, 4]], axis=1)
    np.testing.assert_allclose(scores.mixed("val", context, 0.75), expected, atol=1e-5)


def test_colours_are_told_by_their_words(records):
    # The phrases name the colours, and pictures differ only in colour.
    for record in select(records, method="zero_shot", metric="top1"):
        assert record.value > 0.6 and record.seed is None


def test_the_share_is_that_of_the_supervised_row(records):
    for split in ("easy", "hard"):
        supervised = select(records, method="multimodal", metric="top1", split=split)
        assert [one.seed for one in supervised] == [0, 1]
        own = select(records, method="zero_shot_prototypes", split=split, metric="top1")[0].value
        share = select(records, method="zero_shot_prototypes", split=split, metric="share_of_supervised")[
            0
        ].value
        assert share == pytest.approx(own / np.mean([one.value for one in supervised]))


def test_a_row_of_labels_in_the_vocabulary(tiny_run, records, terms):
    # In this data no term (the name of a colour) is a phrase.
    assert not select(records, method="zero_shot_terms_in_vocabulary")
    among = zero_shot(tiny_run, Progress(), seeds=1)
    # Only "red label" has a term in the vocabulary, so every answer is right.
    assert [r.value for r in select(among, method="zero_shot_terms_in_vocabulary", metric="top1")] == [
        1.0,
        1.0,
    ]
    assert {r.method for r in among} == {
        "multimodal",
        "zero_shot",
        "zero_shot_mean_of_terms",
        "zero_shot_phrases",
        "zero_shot_prototypes",
        "zero_shot_terms_in_vocabulary",
        "zero_shot_text_model",
    }
