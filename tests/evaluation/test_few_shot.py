"""Few-shot methods against their definitions, and the records of the suite."""

import shutil

import numpy as np
import pytest

import ctxvision as cv
from ctxvision.classifier.terms import PlacedTerms, Terms
from ctxvision.evaluation import few_shot as suite
from ctxvision.evaluation.few_shot_methods import METHODS, Support, _folds, cache, pool, prototypes
from ctxvision.evaluation.linear_probe import LinearProbe
from ctxvision.metrics import ranks_of
from ctxvision.metrics.records import select
from ctxvision.training.progress import Progress


@pytest.fixture(scope="module")
def support():
    rng = np.random.default_rng(0)
    labels = np.array([0, 0, 0, 1, 1, 2])
    inputs = [rng.normal(size=[6, 5]) + labels[:, None], 30 * rng.normal(size=[6, 3]) + 9]
    inputs.append(rng.normal(size=[6, 4]) + 3 * np.eye(4)[labels])
    texts, places = np.zeros([3, 3]), np.eye(3, 4)
    terms = Terms(["a", "b", "c"], np.arange(3))
    placed = PlacedTerms(terms, places, places, texts, np.ones(3, bool))
    return Support([part.astype(np.float32) for part in inputs], labels, 3, 10, 0, placed)


@pytest.fixture(scope="module")
def two(support):
    """The same pictures with their first two modalities."""
    return support._replace(inputs=support.inputs[:2])


@pytest.fixture(scope="module")
def queries():
    rng = np.random.default_rng(1)
    return [rng.normal(size=[4, 5]).astype(np.float32), 30 * rng.normal(size=[4, 3]).astype(np.float32)]


@pytest.fixture
def run(tiny_run, tmp_path):
    return cv.Run(shutil.copytree(tiny_run.directory, tmp_path / "run"))


def test_the_linear_probe_is_at_the_minimum_of_its_objective():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 80)
    features = rng.normal(size=[80, 6]) @ rng.normal(size=[6, 6]) + labels[:, None]
    probe = LinearProbe(features, labels, 4, l2=0.05)
    rows = (features - features.mean(axis=0)) / features.std(axis=0)
    rows = np.concatenate([rows, np.ones([80, 1])], axis=1)
    found = np.exp(rows @ probe.weights)
    found /= found.sum(axis=1, keepdims=True)
    gradient = rows.T @ (found - np.eye(4)[labels]) / 80
    gradient[:-1] += 0.05 * probe.weights[:-1]
    assert np.abs(gradient).max() < 1e-4 < np.abs(probe.weights).max()
    np.testing.assert_allclose(probe.probabilities(features), found, atol=1e-5)


def normalized(support, parts):
    """Unit rows of each modality, standardised with the support."""
    rows = []
    for of_support, part in zip(support.inputs, parts, strict=True):
        scaled = (part - of_support.mean(axis=0)) / of_support.std(axis=0)
        rows.append(scaled / np.linalg.norm(scaled, axis=1)[:, None])
    return rows


def test_the_cache_is_the_mean_affinity_to_each_labels_keys(two, queries):
    support = two
    scores = cache(support, 3.0)(queries)
    keys, found = normalized(support, support.inputs), normalized(support, queries)
    for i in range(4):
        cosine = np.array([(keys[0][j] @ found[0][i] + keys[1][j] @ found[1][i]) / 2 for j in range(6)])
        affinity = np.exp(-3.0 * (1 - cosine))
        expected = [affinity[:3].mean(), affinity[3:5].mean(), affinity[5]]
        np.testing.assert_allclose(scores[i], expected, rtol=1e-4)


def test_prototypes_are_class_means(two, queries):
    support = two
    scores = prototypes(support, 0.0)(queries)
    keys = np.concatenate(normalized(support, support.inputs), axis=1)
    means = np.stack([keys[:3].mean(axis=0), keys[3:5].mean(axis=0), keys[5]])
    found = np.concatenate(normalized(support, queries), axis=1)
    cosine = found @ (means / np.linalg.norm(means, axis=1)[:, None]).T / np.sqrt(2)
    np.testing.assert_allclose(scores, cosine, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_learns_its_support(name, support):
    method = METHODS[name]
    support = support._replace(inputs=support.inputs[: method.modalities], steps=60)
    scores = method.learn(support, method.settings[0])(support.inputs)
    assert scores.shape == (6, 3)
    assert (ranks_of(scores, support.labels) == 0).mean() > 0.8


def test_the_pool_holds_out_each_picture_once():
    labels = np.array([0, 1, 0, 1, 1, 0, 0, 1])
    folds = _folds(labels)
    assert folds.max() == 3
    assert all(sorted(labels[folds == fold].tolist()) == [0, 1] for fold in range(4))
    assert (_folds(np.array([0, 0, 0, 1])) == 0).all(), "nothing of label 1 can be held out"
    assert _folds(np.repeat([0, 1], 50)).max() == 4


def test_terms_that_are_right_count_in_the_pool_and_those_that_are_not_do_not():
    """Two shots a label; query embeddings lie at their label's term or at random places."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(8), 2)
    places = np.linalg.qr(rng.normal(size=[8, 8]))[0]
    terms = Terms([str(i) for i in range(8)], np.arange(8))
    noise = [rng.normal(size=[16, 5]), rng.normal(size=[16, 6])]

    def accuracy(queries, of_new):
        placed = PlacedTerms(terms, places, places, np.zeros([8, 6]), np.ones(8, bool))
        support = Support([*noise, queries], labels, 8, 0, 0, placed)
        scores = pool(support, 0.1)([rng.normal(size=[8, 5]), rng.normal(size=[8, 6]), of_new])
        return (scores.argmax(axis=1) == np.arange(8)).mean()

    right = places[labels] + 0.2 * rng.normal(size=[16, 8])
    assert accuracy(right, places + 0.2 * rng.normal(size=[8, 8])) > 0.85
    assert accuracy(rng.normal(size=[16, 8]), rng.normal(size=[8, 8])) < 0.6


def test_the_suite(run, monkeypatch):
    monkeypatch.setattr(suite, "SHOTS", (1, 5, 20))
    monkeypatch.setattr(suite, "LEAST_DRAWS", 2)
    records = suite.few_shot(run, Progress(), seeds=1)
    assert {record.shots for record in select(records, metric="top1")} == {1, 5}, "no label has 20"
    assert {record.split for record in records} == {"easy", "hard"}
    for name in METHODS:
        for shots in (1, 5):
            draws = select(records, method=name, shots=shots, split="easy", metric="top1")
            assert [record.seed for record in draws] == [0, 1]
            assert all(record.fraction == 0.5 for record in draws)
            gains = select(records, method=name, shots=shots, split="easy", metric="top1_over_linear_probe")
            if name == "linear_probe":
                assert not gains
                continue
            base = select(records, method="linear_probe", shots=shots, split="easy", metric="top1")
            expected = np.mean([a.value - b.value for a, b in zip(draws, base, strict=True)])
            np.testing.assert_allclose(gains[0].value, expected, atol=1e-6)
        for draw in (0, 1):
            one = {
                metric: select(records, method=name, seed=draw, split="hard", metric=f"top1_{metric}")[
                    0
                ].value
                for metric in ("base", "new", "harmonic")
            }
            total = one["base"] + one["new"]
            expected = 2 * one["base"] * one["new"] / total if total else 0.0
            assert one["harmonic"] == pytest.approx(expected)

    # The second run of the suite reads the first one's measurements and learns nothing.
    monkeypatch.setattr(suite._FewShot, "_support", None)
    assert suite.few_shot(run, Progress(), seeds=1) == records


def test_halves_of_the_labels_are_ranked_among_themselves(run, monkeypatch):
    monkeypatch.setattr(suite, "LEAST_DRAWS", 1)
    few = suite._FewShot(run, Progress(), 1)
    new = few._new_labels()
    assert len(new) == 2
    halves = {"base": np.setdiff1d(np.arange(4), new), "new": new}
    ranks = few._ranks("prototypes", "halves", few._drawn(5, 0), 5, 0, halves)
    assert {key.partition("/")[0] for key in ranks} == {"base", "new"}
    assert all(values.max() < 2 and len(values) == 12 for values in ranks.values())


def test_draws_are_nested_and_balanced(run):
    few = suite._FewShot(run, Progress(), 1)
    one, five = few._drawn(1, 3), few._drawn(5, 3)
    assert set(one) < set(five) and set(five) != set(few._drawn(5, 4))
    assert np.bincount(few.ids[five]).tolist() == [5, 5, 5, 5]


def test_a_label_of_fewer_pictures_gives_all(run, monkeypatch):
    ids = run.data.label_ids("train")
    few_of_one = np.where((ids == 2) & (np.cumsum(ids == 2) > 3), 1, ids)
    monkeypatch.setattr(run.data, "label_ids", lambda split: few_of_one)
    few = suite._FewShot(run, Progress(), 1)
    assert few.possible == [1, 2, 5, 10], "label 1 has 19"
    assert np.bincount(few_of_one[few._drawn(5, 0)]).tolist() == [5, 5, 3, 5]


def test_a_label_without_a_picture_to_learn_from(run, monkeypatch):
    ids = run.data.label_ids("train")
    monkeypatch.setattr(run.data, "label_ids", lambda split: np.where(ids == 2, 1, ids))
    with pytest.raises(
        cv.InputError, match="suite few-shot needs a picture of each label in train, got none of"
    ):
        suite.few_shot(run, Progress(), 1)


def test_one_label_only(run, monkeypatch):
    monkeypatch.setattr(run.data, "labels", ["red label"])
    monkeypatch.setattr(run.data, "label_ids", lambda split: np.zeros(9, np.int32))
    with pytest.raises(cv.InputError, match="suite few-shot needs at least 2 labels, got 1: give"):
        suite.few_shot(run, Progress(), 1)
