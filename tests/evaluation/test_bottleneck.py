"""The inputs and the base of each method."""

import shutil

import numpy as np
import pytest

from ctxvision.classifier.run import Run
from ctxvision.evaluation.bottleneck import FRACTION, GAINS, METHODS, bottleneck
from ctxvision.evaluation.features import Features
from ctxvision.evaluation.heads import Heads
from ctxvision.training.progress import Progress


@pytest.fixture
def run(tiny_run, tmp_path):
    return Run(shutil.copytree(tiny_run.directory, tmp_path / "run"))


def test_bottleneck(run, monkeypatch):
    given, stages_of = {}, {}

    def ranks(self, name, inputs, seed, stages):
        stages_of[name] = stages
        given[name] = inputs("test:hard")
        return {"test:hard": np.array([0, 0, 1, 9]) + (name == "visual_only")}

    monkeypatch.setattr(Heads, "ranks", ranks)
    records = bottleneck(run, Progress(), seeds=2)

    features = Features(run, Progress())
    visual = features.visual("test:hard", 0.2)
    context, query = features.context("test:hard"), features.bottleneck("test:hard")
    expected = {
        "visual_only": [visual],
        "visual_text": [visual, context],
        "visual_bottleneck": [visual, query],
        "visual_text_bottleneck": [visual, context, query],
    }
    assert stages_of["visual_text_bottleneck"] == [0, 2, 1] and stages_of["visual_bottleneck"] == [0, 1]
    assert set(given) == set(expected) == set(METHODS)
    for name, parts in expected.items():
        for part, wanted in zip(given[name], parts, strict=True):
            np.testing.assert_array_equal(part, wanted)

    values = {(r.method, r.metric): r.value for r in records if r.seed is None}
    assert len(values) == 3 * len(GAINS)
    assert values["visual_text", "top1_over_visual_only"] == 0.5
    assert values["visual_text_bottleneck", "top1_over_visual_bottleneck"] == 0
    assert {r.fraction for r in records} == {FRACTION}
    assert len([r for r in records if r.metric == "top1"]) == 2 * len(METHODS)
