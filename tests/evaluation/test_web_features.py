"""Web pictures as plain pre-training."""

import shutil

import numpy as np
import pytest

import ctxvision as cv
from ctxvision.context.context import Context
from ctxvision.evaluation.web_features import STAGE, WebFeatures
from ctxvision.layers.backbone_features import features_of
from ctxvision.training.progress import Progress


@pytest.fixture
def web(run):
    shutil.rmtree(run.directory / "features", ignore_errors=True)
    return WebFeatures(run, Progress())


def test_frozen_features_are_those_of_the_generators_convnet(run, web):
    tower, pictures = run.context.phrase_generator.tower, run.data.pictures("val")
    expected = features_of(tower, pictures, training=False)
    np.testing.assert_allclose(web._frozen("val"), expected, atol=1e-4)


def test_fine_tuning_leaves_the_context_as_it_is(run, web):
    before = [weights.copy() for weights in Context(run.context.directory).phrase_generator.get_weights()]
    shutil.rmtree(run.directory / STAGE, ignore_errors=True)
    tuned = web._fine_tuned("val", 1.0)
    assert run.stages.is_done(f"{STAGE}/1") and not np.allclose(tuned, web._frozen("val"), atol=1e-3)
    for one, other in zip(before, run.context.phrase_generator.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(WebFeatures(run, Progress())._fine_tuned("val", 1.0), tuned)


@pytest.mark.parametrize("better", ["frozen", "fine_tuned"])
def test_the_better_one_on_val_is_taken(web, monkeypatch, better):
    marks = {"_frozen": 0.0, "_fine_tuned": 1.0}
    for name, mark in marks.items():
        monkeypatch.setattr(WebFeatures, name, lambda self, *asked, mark=mark: np.full([3, 2], mark))
    of_better = marks[f"_{better}"]
    monkeypatch.setattr(WebFeatures, "_on_val", lambda self, features: features("val")[0, 0] == of_better)
    assert (web.of("test:easy", 1.0) == of_better).all()


def test_a_tower_of_both_has_no_such_rows(run, monkeypatch):
    assert WebFeatures(run, Progress()).possible
    monkeypatch.setattr(run, "config", cv.Config(visual_backbone="shared"))
    assert not WebFeatures(run, Progress()).possible
