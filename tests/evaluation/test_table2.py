"""A trained vocabulary against a larger one."""

import shutil
from collections import Counter

import numpy as np
import pytest

from ctxvision.classifier.phrases import add_phrase
from ctxvision.classifier.run import Run
from ctxvision.evaluation import table2 as module
from ctxvision.evaluation.features import CLASSES, Features
from ctxvision.evaluation.heads import Heads
from ctxvision.evaluation.table2 import curve_sizes, table2
from ctxvision.training.progress import Progress


@pytest.fixture(scope="module")
def grown_run(tiny_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("grown") / "run"
    shutil.copytree(tiny_run.directory, folder)
    run = Run(folder)
    add_phrase(run, "new thing", run.data.pictures("web")[:3], text="fresh lawn")
    return run


def test_table2(grown_run, monkeypatch):
    """Each head gets the inputs that its name says, and gains are differences between answers of heads."""
    given, answers = {}, {}

    def ranks(self, name, inputs, seed, suite, fusion):
        assert fusion == "concat"
        given[suite, name] = inputs("test:hard")
        rng = np.random.default_rng([seed, *name.encode()])
        answers[name, seed] = {"test:hard": rng.integers(0, 2, 24)}
        return answers[name, seed]

    monkeypatch.setattr(Heads, "ranks", ranks)
    records = table2(grown_run, Progress(), seeds=2, fractions=(0.5, 1.0))

    features = Features(grown_run, Progress())
    large = features.context("test:hard")
    small = features.context("test:hard", features.chosen._replace(vocabulary=CLASSES))
    assert not np.array_equal(large, small)
    expected = {
        ("table1", "text_only"): [large],
        (None, "text_only_small"): [small],
        (None, "text_only_curve-9"): [large],
    }
    for fraction in (0.5, 1.0):
        visual = features.visual("test:hard", fraction)
        expected["table1", f"multimodal_concat-{fraction:g}"] = [visual, large]
        expected[None, f"multimodal_concat_small-{fraction:g}"] = [visual, small]
    assert set(given) == {*expected, *((None, f"text_only_curve-{n}") for n in range(3, 9))}
    for name, parts in expected.items():
        for part, wanted in zip(given[name], parts, strict=True):
            np.testing.assert_array_equal(part, wanted)

    found = {(r.method, r.fraction, r.vocabulary, r.seed, r.metric): r.value for r in records}
    assert len(found) == len(records)
    gains = []
    for fraction in (0.5, 1.0):
        tops = [
            [np.mean(answers[f"{name}-{fraction:g}", seed]["test:hard"] < 1) for seed in (0, 1)]
            for name in ("multimodal_concat", "multimodal_concat_small")
        ]
        assert found["multimodal_concat", fraction, 9, 1, "top1"] == pytest.approx(tops[0][1])
        assert found["multimodal_concat_small", fraction, 8, 0, "top1"] == pytest.approx(tops[1][0])
        gains.append(np.mean(tops[0]) - np.mean(tops[1]))
        gain = found["multimodal_concat", fraction, 9, None, "top1_over_multimodal_concat_small"]
        assert gain == pytest.approx(gains[-1], abs=1e-6)
    gain, low, high = (
        found["multimodal_concat", None, 9, None, f"top1_over_multimodal_concat_small{end}"]
        for end in ("", "_low", "_high")
    )
    assert gain == pytest.approx(np.mean(gains), abs=1e-6)
    assert low < gain < high
    of_text = np.mean([answers["text_only", s]["test:hard"] < 1 for s in (0, 1)])
    of_text -= np.mean([answers["text_only_small", s]["test:hard"] < 1 for s in (0, 1)])
    for fraction in (0.5, 1.0, None):
        gain = found["text_only", fraction, 9, None, "top1_over_text_only_small"]
        assert gain == pytest.approx(of_text, abs=1e-6)
    curve = {r.vocabulary for r in records if r.method == "text_only_curve" and r.metric == "top5"}
    assert curve == {3, 4, 5, 6, 7, 8, 9}


def test_the_small_output_space_is_the_softmax_classes(grown_run):
    counts = Counter(q.text for row in grown_run.data.split("web").queries for q in row if q.language == "en")
    assert set(Features(grown_run, Progress()).table(CLASSES).phrases) == set(counts)
    assert "new thing" in grown_run.context.phrase_table.phrases


def test_where_all_phrases_are_classes_the_curve_is_left(tiny_run, monkeypatch):
    monkeypatch.setattr(Heads, "ranks", lambda *args, **_: {"test:hard": np.arange(4)})
    records = table2(tiny_run, Progress(), seeds=1, fractions=(0.5, 1.0))
    assert {record.method for record in records} == {"text_only", "multimodal_concat", "text_only_curve"}
    assert {record.metric for record in records} == {"top1", "top5"}
    assert {record.vocabulary for record in records if record.method != "text_only_curve"} == {8}


def test_many_phrases_that_are_all_classes_are_compared_in_a_second_context(run, grown_run, monkeypatch):
    """Compares its classes with all of its prototypes; the curve uses the run's own context."""
    given = {}

    def ranks(self, name, inputs, seed, suite, fusion):
        given[suite, name] = inputs("test:hard")
        return {"test:hard": np.arange(4)}

    second = grown_run.context  # has one phrase more than classes
    monkeypatch.setattr(module, "FEWEST_PHRASES", 4)
    monkeypatch.setattr(module, "small_context", lambda context, progress: second)
    monkeypatch.setattr(module, "Context", lambda directory, languages: second)
    monkeypatch.setattr(Heads, "ranks", ranks)
    records = table2(run, Progress(), seeds=1, fractions=(1.0,))
    assert {(r.method, r.vocabulary) for r in records if r.metric == "top1" and "curve" not in r.method} == {
        ("text_only", 9),
        ("text_only_small", 8),
        ("multimodal_concat", 9),
        ("multimodal_concat_small", 8),
    }
    expected = Features(run, Progress(), second).context("test:hard")
    np.testing.assert_array_equal(given[None, "expanded-text_only"][0], expected)
    assert max(r.vocabulary for r in records if r.method == "text_only_curve") == 8


def test_sizes_of_the_curve():
    assert curve_sizes(3, 3 * 2**9) == [3 * 2**i for i in range(10)]
    assert curve_sizes(3, 5) == [3, 4, 5]
