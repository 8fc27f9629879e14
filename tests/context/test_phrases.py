"""Changes and searches of a run's vocabulary: at once, after a restart, and in an export."""

import numpy as np
import pytest
import tensorflow as tf

import ctxvision as cv
from ctxvision.context.phrases import PhraseStats
from ctxvision.serving.loading import load_export
from ctxvision.vocabulary import Ngrams
from tests.tiny_data import MASCOT, files_of


def answers(run, pixels):
    """Answers of the classifier that the run has built, and of the run opened again."""
    reopened = cv.Run(run.directory).classifier(tf.constant(pixels))
    return [
        run.classifier.predict(pixels, verbose=0),
        {key: value.numpy() for key, value in reopened.items()},
    ]


def exported_answer(run, pixels, tmp_path):
    served = load_export(cv.export(run, tmp_path / "serving")).signatures["pixels"](
        pixels=tf.constant(pixels)
    )
    return {key: value.numpy() for key, value in served.items()}


def test_an_added_phrase_is_found_for_its_own_pictures(run, purple, folder, tmp_path):
    before = run.classifier.predict(purple, verbose=0)
    assert MASCOT.encode() not in before["phrases"]
    assert cv.add_phrase(run, MASCOT, folder) == 12

    embeddings = run.context.phrase_generator(tf.constant(purple)).numpy()
    mean = embeddings.mean(axis=0)
    table = run.context.phrase_table
    np.testing.assert_allclose(table.prototypes[12], mean / np.linalg.norm(mean), atol=1e-5)
    assert (table.phrases[12], table.counts[12], table.languages[12]) == (MASCOT, 3, "en")
    assert np.flatnonzero(table.flags["pinned"]).tolist() == [12]

    found = [*answers(run, purple), exported_answer(run, purple, tmp_path)]
    scores = embeddings @ table.prototypes[12]
    for answer in found:
        there = answer["phrases"] == MASCOT.encode()
        assert (there.sum(axis=1) == 1).all()
        np.testing.assert_allclose(answer["phrase_scores"][there], scores, atol=1e-5)
        np.testing.assert_allclose(answer["probabilities"], found[0]["probabilities"], atol=1e-5)
        # The other phrases keep their order.
        others = answer["phrases"][~there].reshape(3, -1)
        assert np.array_equal(others, before["phrases"][:, :-1])


def test_one_picture_is_enough(run, purple):
    assert run.context.config.min_phrase_count == 2
    cv.add_phrase(run, MASCOT, purple[:1])
    assert MASCOT.encode() in run.classifier.predict(purple[:1], verbose=0)["phrases"][0]


def test_a_text_of_its_own(run, purple):
    known = run.context.text_embeddings(np.arange(12))
    texts = run.context.text_encoder(tf.constant([MASCOT, "yellow square"])).numpy()
    for text, expected in ((None, texts[0]), ("yellow square", texts[1])):
        cv.add_phrase(run, MASCOT, purple, text=text)
        expected_rows = [*known, expected]
        np.testing.assert_allclose(run.context.text_embeddings(np.arange(13)), expected_rows, atol=1e-6)
        np.testing.assert_allclose(
            run.classifier.phrase_embeddings(tf.constant([12])), expected[np.newaxis], atol=1e-6
        )


def test_a_table_that_the_encoder_cannot_read(kept_run):
    table, context = kept_run.context.phrase_table, kept_run.context
    ids, buckets = table.ngrams
    wanted = (
        "phrase table of context .* does not fit: text must be n-grams .* 48.* of 32768 hash buckets, got "
    )
    for ngrams, got in (
        (None, "none"),
        (Ngrams(ids, buckets + 1), "n-grams .* of 32769 hash buckets"),
        (Ngrams(ids[:, :16], buckets), r"n-grams \[12, 16\] of 32768"),
    ):
        other = cv.PhraseTable.from_arrays(list(table.phrases), table.prototypes, ngrams=ngrams)
        with pytest.raises(cv.InputError, match=wanted + got):
            context.embeddings_of(other)


def test_a_known_phrase_is_replaced(run, purple):
    (row,) = run.context.phrase_table.ids(["red square"])
    others = np.delete(np.array(run.context.phrase_table.prototypes), row, axis=0)
    assert cv.add_phrase(run, "red square", purple) == row
    assert (len(run.context.phrase_table), run.context.phrase_table.counts[row]) == (12, 3)
    np.testing.assert_array_equal(np.delete(run.context.phrase_table.prototypes, row, axis=0), others)
    answer = run.classifier.predict(purple, verbose=0)
    scores = (
        run.context.phrase_generator(tf.constant(purple)).numpy() @ run.context.phrase_table.prototypes[row]
    )
    there = answer["phrase_ids"] == row
    assert (there.sum(axis=1) == 1).all()
    expected = scores
    np.testing.assert_allclose(answer["phrase_scores"][there], expected, atol=1e-5)


def test_a_phrase_in_another_language_is_not_retrieved(run, purple):
    cv.add_phrase(run, "la mascota", purple, language="es")
    assert "la mascota" in [found.phrase for found in cv.list_phrases(run, "es")]
    for answer in answers(run, purple):
        assert b"la mascota" not in answer["phrases"]


def test_a_removed_phrase_is_never_found_again(run):
    pixels = run.data.pictures("test:easy")
    before = run.classifier.predict(pixels, verbose=0)
    assert b"red square" in before["phrases"]
    cv.remove_phrases(run, ["red square", "rojo"])
    found = answers(run, pixels)
    for answer in found:
        assert b"red square" not in answer["phrases"] and (answer["phrases"] != b"").all()
    # Other pictures keep their answers.
    same = (before["phrases"] != b"red square").all(axis=1)
    assert same.any() and np.array_equal(found[0]["phrases"][same], before["phrases"][same])
    phrases = [found.phrase for found in cv.list_phrases(cv.Run(run.directory))]
    assert len(phrases) == 10 and not {"red square", "rojo"} & set(phrases)
    assert "red square" not in [found.phrase for found in cv.search_phrases(run, "red square")]


def test_a_removed_phrase_that_is_added_again_keeps_its_id(run, purple):
    number = cv.add_phrase(run, MASCOT, purple)
    cv.remove_phrases(run, [MASCOT])
    assert MASCOT.encode() not in run.classifier.predict(purple, verbose=0)["phrases"]
    assert cv.add_phrase(run, MASCOT, purple) == number
    assert (run.classifier.predict(purple, verbose=0)["phrase_ids"] == number).any(axis=1).all()


def test_the_classifier_is_rebuilt_when_its_room_is_used_up(run, purple, monkeypatch):
    monkeypatch.setattr("ctxvision.layers.retrieval.vocabulary.SIDE_ROWS", 1)
    first, many = run.classifier, np.repeat(purple, 20, axis=0)
    cv.add_phrase(run, MASCOT, many)
    assert run.classifier is first
    cv.add_phrase(run, "twin", many[::-1])
    assert run.classifier is not first
    assert {MASCOT.encode(), b"twin"} <= set(run.classifier.predict(purple, verbose=0)["phrases"].flat)


def test_list(kept_run):
    found = cv.list_phrases(kept_run)
    assert sorted(row.phrase for row in found) == sorted(kept_run.context.phrase_table.phrases)
    assert {(row.score, row.count) for row in found} == {(1.0, 24)}
    spanish = cv.list_phrases(kept_run.directory, "es")
    assert {(row.phrase, row.language) for row in spanish} == {
        (phrase, "es") for phrase in ("rojo", "verde", "azul", "amarillo")
    }


def test_the_phrases_with_most_pictures_are_listed_first(run, purple):
    cv.add_phrase(run, MASCOT, purple)
    cv.add_phrase(run, "crowd", np.repeat(purple, 10, axis=0))
    found = cv.list_phrases(run)
    assert (found[0].phrase, found[0].count) == ("crowd", 30)
    assert (found[-1].phrase, found[-1].count) == (MASCOT, 3)


def test_search_by_a_picture_finds_what_the_classifier_finds(kept_run):
    path = kept_run.data.split("test:easy").paths[0]
    found = cv.search_phrases(kept_run, path, k=3)
    answer = kept_run.classifier.predict(kept_run.data.pictures("test:easy")[:1], verbose=0)
    assert {row.phrase.encode() for row in found} == set(answer["phrases"][0])
    np.testing.assert_allclose([row.score for row in found], answer["phrase_scores"][0], atol=1e-5)
    assert len(cv.search_phrases(kept_run, path, k=99)) == 8


def test_search_by_words_uses_their_meaning(kept_run):
    table = kept_run.context.phrase_table
    query = kept_run.context.text_encoder(tf.constant(["red tomato"])).numpy()[0]
    scores = {
        phrase: score
        for phrase, language, score in zip(
            table.phrases,
            table.languages,
            kept_run.context.embed_texts(list(table.phrases)) @ query,
            strict=True,
        )
        if language == "en"
    }
    found = cv.search_phrases(kept_run, "red tomato", k=4)
    assert [row.phrase for row in found] == sorted(scores, key=lambda phrase: -scores[phrase])[:4]
    np.testing.assert_allclose([row.score for row in found], sorted(scores.values())[:3:-1], atol=1e-5)
    assert len(cv.search_phrases(kept_run, "red " * 200, k=2)) == 2, "longer than a file's name may be"


def test_stats(run, purple):
    cv.add_phrase(run, MASCOT, purple)
    cv.remove_phrases(run, ["rojo"])
    size = sum(len(content) for content in files_of(run).values()) - len(
        (run.directory / "table" / "done.json").read_bytes()
    )
    assert cv.phrase_stats(run) == PhraseStats(
        phrases=12,
        removed=1,
        retrievable=9,
        languages={"en": 9, "es": 3},
        pictures={"1": 12, "2": 12, "5": 11, "10": 11, "100": 0},
        bytes_on_disk=size,
    )


def test_a_vocabulary_that_another_process_has_changed(run, purple):
    _ = run.context.phrase_table
    cv.add_phrase(run.directory, MASCOT, purple)
    with pytest.raises(cv.InputError, match="written by another process: load the table again"):
        cv.add_phrase(run, "another", purple)
    assert cv.phrase_stats(run.directory).phrases == 13
