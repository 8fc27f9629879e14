"""A run over a context has its own fork of the phrases, and accepts only its own context."""

import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

import ctxvision as cv
from ctxvision.classifier.fork import new_run
from tests.tiny_data import tiny_settings


def config_of(data, **settings):
    changes = {"fractions": [1.0], "label_column": "coarse_label", **settings}
    return cv.Config.from_dict({**tiny_settings(data), **changes})


@pytest.fixture
def context(tiny_run, tmp_path):
    return cv.Context(shutil.copytree(tiny_run.context.directory, tmp_path / "context"))


@pytest.fixture
def run(context, tiny_data, tmp_path):
    return new_run(tmp_path / "run", config_of(tiny_data), tiny_data, context)


def phrases_of(owner):
    return {one.phrase for one in cv.list_phrases(owner)}


def test_a_fork_copies_no_column(run, context):
    columns = [path for path in context.table_folder.rglob("*.npy")]
    assert columns
    for path in columns:
        fork = run.directory / "table" / path.relative_to(context.table_folder)
        assert os.path.samefile(path, fork)


def test_neither_table_sees_changes_of_the_other(run, context):
    before, pictures = phrases_of(context), np.full((2, 16, 16, 3), (130, 20, 160), np.uint8)
    cv.add_phrase(context, "of the context", pictures)
    assert phrases_of(cv.Run(run.directory)) == before
    run.context.phrase_table.remove(["red square"])
    assert phrases_of(cv.Run(run.directory)) == before - {"red square"}
    assert phrases_of(cv.Context(context.directory)) == before | {"of the context"}


def test_a_runs_languages_filter_the_contexts_phrases(context, tiny_data, tmp_path):
    config = config_of(tiny_data, languages=["es"])
    run = new_run(tmp_path / "spanish", config, tiny_data, context)
    assert run.context.num_retrievable() == 4 and context.num_retrievable() == 8


def test_no_phrase_passes_the_filter(context, tiny_data, tmp_path):
    config = config_of(tiny_data, languages=["xx"], visual_steps=1)
    with pytest.raises(cv.InputError, match="at least 3 phrases for context, got 0 in xx with 2 pictures or"):
        cv.train(tiny_data, tmp_path / "run", config, context)


def test_a_moved_and_a_different_context(run, context, tmp_path):
    moved = shutil.move(context.directory, tmp_path / "moved")
    with pytest.raises(cv.InputError, match="must be at .*, got none there: name its folder with --context"):
        _ = cv.Run(run.directory).context
    assert cv.Run(run.directory, context=moved).context.fingerprint == context.fingerprint
    weights = tmp_path / "moved" / "text" / "weights.npz"
    with np.load(weights) as stored:
        changed = [stored[name] + 1 for name in stored.files]
    np.savez(weights, *changed)
    with pytest.raises(
        cv.InputError, match="must have fingerprint .*: name the context that the run was made"
    ):
        _ = cv.Run(run.directory, context=moved).context


@pytest.mark.slow
def test_a_run_over_a_context_equals_the_run_that_made_it(tiny_run, context, tiny_data, tmp_path):
    """Every metric is equal for the same settings, labels and context."""
    over = cv.train(tiny_data, tmp_path / "run", tiny_run.config, context)
    assert (over.directory / "metrics.json").read_text() == (tiny_run.directory / "metrics.json").read_text()
    pixels = tf.constant(tiny_run.data.pictures("test:hard"))
    np.testing.assert_array_equal(
        over.classifier(pixels)["probabilities"], tiny_run.classifier(pixels)["probabilities"]
    )
