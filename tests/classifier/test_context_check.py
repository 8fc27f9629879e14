"""The comparison with and without context on `val`, and the classifier without context."""

import re
import shutil

import numpy as np
import pytest
import tensorflow as tf

import ctxvision as cv
from ctxvision._files import read_json
from ctxvision.classifier.context_check import check_context, sentence_of, without_context
from ctxvision.metrics import Interval
from ctxvision.training.progress import Progress


@pytest.fixture
def run(tiny_run, tmp_path):
    shutil.copytree(tiny_run.directory, tmp_path / "run")
    return cv.Run(tmp_path / "run")


def test_the_figures_equal_those_of_heads_on_val(run):
    check = read_json(run.stages.folder("visual_only") / "check.json")
    assert check["pictures"] == len(run.data.split("val").paths) and check["seeds"] == 2
    assert check["gain"]["mean"] == pytest.approx(check["multimodal"] - check["visual_only"])
    assert check["gain"]["low"] <= check["gain"]["mean"] <= check["gain"]["high"]
    before = check["sentence"]
    assert check_context(run, Progress()) == before and before.startswith("On val, ")


@pytest.mark.parametrize(
    "gain, sentence",
    [
        ((0.05, 0.02, 0.08), r"context adds \+5\.0 points of top-1 \(\+2\.0 to \+8\.0\)\.$"),
        (
            (-0.05, -0.08, -0.02),
            r"context costs accuracy: −5\.0 points of top-1 \(−8\.0 to −2\.0\); .*--without-context",
        ),
        ((0.0, -0.02, 0.02), r"no difference by context is shown: \+0\.0 points .*--without-context"),
    ],
)
def test_the_sentence_claims_no_more_than_the_interval(gain, sentence):
    assert re.search(sentence, sentence_of(Interval(*gain)))


def test_the_model_without_context_answers_from_the_picture_and_shows_phrases(run):
    model, pixels = without_context(run), run.data.pictures("test:easy")[:8]
    outputs = model(tf.constant(pixels))
    assert (outputs["phrases"].numpy() == run.classifier(tf.constant(pixels))["phrases"].numpy()).all()
    told = cv.explain(model, tf.constant(pixels), top=1)
    np.testing.assert_allclose(told["shares"], 0, atol=1e-6)
    np.testing.assert_allclose(told["query"], 0, atol=1e-6)
    assert model.thresholds is None and (np.abs(told["visual"]) > 0.01).any()
    top = outputs["probabilities"].numpy().argmax(axis=1)
    assert (top == run.data.label_ids("test:easy")[:8]).mean() > 0.7


def test_a_run_without_the_stage(run):
    shutil.rmtree(run.directory / "visual_only")
    with pytest.raises(
        cv.InputError,
        match="must have the finished stage 'visual_only', got none: run the same ctxvision train",
    ):
        cv.export(run, run.directory / "export", context=False)
