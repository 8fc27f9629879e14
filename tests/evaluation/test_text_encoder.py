"""Held-out associations and their retrieval."""

import shutil

import numpy as np
import pytest
import tensorflow as tf

import ctxvision as cv
from ctxvision.errors import InputError
from ctxvision.evaluation.held_out_queries import hold_out, misspelt
from ctxvision.evaluation.text_encoder import AverageText, bag_similarity, make_tests, text_encoder
from ctxvision.metrics.records import select
from ctxvision.training.progress import Progress
from ctxvision.training.query_log import QueryLog


def log_of(pictures):
    """A query log from a list of query numbers for each picture."""
    pairs = [(i, query) for i, queries in enumerate(pictures) for query in queries]
    picture, query = np.array(pairs, np.int32).T
    size = query.max() + 1
    return QueryLog(
        [f"query {i}" for i in range(size)], ["en"] * size, np.bincount(query, minlength=size), picture, query
    )


@pytest.mark.parametrize("seed", range(3))
def test_held_out_associations_by_plain_sets(seed):
    rng = np.random.default_rng(seed)
    pictures = [rng.permutation(30)[: rng.integers(1, 5)].tolist() for _ in range(40)]
    pictures += pictures[:10]  # other pictures of the same things
    held = hold_out(log_of(pictures), seed)

    flat = [i for i, queries in enumerate(pictures) for _ in queries]
    trained = {i for i, yes in zip(flat, held.trained) if yes}
    assert {i for i, yes in zip(flat, held.trained) if not yes}.isdisjoint(trained)
    sides = {}
    for i, queries in enumerate(pictures):
        sides.setdefault(tuple(sorted(queries)), set()).add(i in trained)
    assert all(len(side) == 1 for side in sides.values())
    assert sum(side == {False} for side in sides.values()) == round(0.1 * len(sides))

    def pairs(chosen):
        return {(a, b) for i in chosen for a in pictures[i] for b in pictures[i] if a != b}

    everything = pairs(range(len(pictures)))
    assert set(map(tuple, held.pairs.tolist())) == everything - pairs(trained)
    assert len(held.pairs) == len(set(map(tuple, held.pairs.tolist())))
    for left, partners in held.partners.items():
        assert partners.tolist() == sorted(b for a, b in everything if a == left)


def test_no_association_is_left():
    with pytest.raises(
        InputError, match="needs held-out associations of queries, got none in 1 different sets"
    ):
        hold_out(log_of([[0], [0]]), 0)


def test_misspellings_are_one_edit_away():
    def edits(text):
        letters = "abcdefghijklmnopqrstuvwxyz"
        cuts = [(text[:i], text[i:]) for i in range(len(text) + 1)]
        removed = {a + b[1:] for a, b in cuts if b}
        return (
            removed
            | {a + c + b[1:] for a, b in cuts if b for c in letters}
            | {a + c + b for a, b in cuts for c in letters}
        )

    rng = np.random.default_rng(0)
    found = [misspelt("red fox", rng) for _ in range(300)]
    assert set(found) <= edits("red fox") - {"red fox"} and len(set(found)) > 100
    assert {len(text) for text in found} == {6, 7, 8}
    assert all(misspelt("a", rng).strip() for _ in range(50))


def test_bag_of_ngrams_by_hand():
    found = bag_similarity(["red fox", "den"], ["red fox", "red den", "Fox fox", "owl"])
    # "red fox": red, fox, "red fox". "fox fox": fox twice, "fox fox" once.
    expected = [[1, 1 / 3, 2 / (15**0.5), 0], [0, 1 / 3**0.5, 0, 0]]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_average_learns_no_attention():
    layer = AverageText(dim=3, hash_buckets=50)
    assert [weight.name for weight in layer.trainable_weights] == ["ngram_table:0"]
    ids = layer.ngram_ids(tf.constant(["red fox"]))
    vectors = layer.ngram_table.numpy()[ids[0, :3]].mean(axis=0)
    np.testing.assert_allclose(layer.encode(ids)[0], vectors / np.linalg.norm(vectors), atol=1e-6)


@pytest.fixture(scope="module")
def copy(tiny_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("copies") / "run"
    shutil.copytree(tiny_run.directory, folder)
    return cv.Run(folder)


@pytest.fixture(scope="module")
def records(copy):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ctxvision.evaluation.text_encoder.STEPS", 20)
        return text_encoder(copy, Progress(), seeds=2)


def test_tests_are_made_of_the_runs_languages(copy):
    log = copy.data.query_log
    held = hold_out(log, copy.config.seed)
    spoken = np.array([language == "en" for language in log.languages])
    candidates, tests = make_tests(copy, held, spoken)
    assert sorted(candidates) == sorted(np.array(log.phrases)[spoken])
    language = dict(zip(log.phrases, log.languages))
    assert {language[text] for text in tests["held_out"].texts} == {"en"}
    assert {language[text] for text in tests["other_languages"].texts} == {"es"}
    for split in ("held_out", "other_languages"):
        for text, target, partners in zip(*tests[split]):
            left = log.phrases.index(text)
            own = {candidates[i] for i in partners}
            expected = {log.phrases[i] for i in held.partners[left] if spoken[i]} | ({text} & set(candidates))
            assert own == expected and candidates[target] in own
    assert len(tests["misspelt"].texts) == len(tests["held_out"].texts)
    assert all(bad != good for bad, good in zip(tests["misspelt"].texts, tests["held_out"].texts))


@pytest.mark.slow
def test_records_of_every_method(records):
    methods = {"attention", "average", "character_ngrams", "language_agnostic"}
    assert {record.method for record in records} == {*methods, "bag_of_ngrams"}
    assert {record.split for record in records} == {"held_out", "misspelt", "other_languages"}
    for method in methods:
        assert [r.seed for r in select(records, method=method, split="held_out", metric="recall@1")] == [0, 1]
    assert [
        r.seed for r in select(records, method="bag_of_ngrams", split="misspelt", metric="recall@10")
    ] == [None]
    gains = select(records, method="character_ngrams", split="held_out", seed=None)
    assert [r.metric.removeprefix("recall@10_over_attention") for r in gains] == ["", "_low", "_high"]
    assert all(0 <= r.value <= 1 for r in records if "over" not in r.metric)


@pytest.mark.slow
def test_measured_once(copy, records, monkeypatch):
    monkeypatch.setattr("ctxvision.evaluation.text_encoder._trained", None)
    assert text_encoder(copy, Progress(), seeds=2) == records
