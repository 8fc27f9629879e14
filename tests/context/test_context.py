"""A context without a run: phrases of pictures, and refused input."""

import json
import shutil

import numpy as np
import pytest

import ctxvision as cv
from tests.tiny_data import COLOURS


@pytest.fixture(scope="module")
def context(tiny_run):
    """The context of the tiny run; read only."""
    return cv.Context(tiny_run.directory / "context")


@pytest.fixture
def copy(context, tmp_path):
    return shutil.copytree(context.directory, tmp_path / "context")


def test_pictures_are_described_without_a_taxonomy(context, tiny_run):
    things = dict(zip(COLOURS, ("tomato", "lawn", "sea", "lemon"), strict=True))
    told = context.describe(tiny_run.data.pictures("test:easy"), k=2)
    for (label,), phrases in zip(tiny_run.data.split("test:easy").labels, told, strict=True):
        colour = label.split()[0]
        assert {one.phrase.split()[-1] for one in phrases} == {"square", things[colour]}
        assert phrases[0].score >= phrases[1].score > 0 and {one.language for one in phrases} == {"en"}
    (alone,) = context.describe(tiny_run.data.split("test:easy").paths[:1], k=2)
    assert [one.phrase for one in alone] == [one.phrase for one in told[0]]
    assert [one.score for one in alone] == pytest.approx([one.score for one in told[0]], abs=1e-5)


def test_another_language_filter(context, tiny_run):
    spanish = cv.Context(context.directory, languages=["es"])
    assert {one.phrase for one in spanish.describe(tiny_run.data.pictures("test:easy")[:1], k=1)[0]} == {
        "rojo"
    }


def test_the_index_is_tuned_and_training_files_are_deleted(context):
    assert json.loads((context.directory / "index.json").read_text())["recall"] == 0.95
    names = {path.name for path in context.directory.iterdir()}
    assert names == {"context.json", "generator", "table", "text", "index.json", "README.md", "logs"}


@pytest.mark.parametrize("k", [0, 9])
def test_k_out_of_range(context, k):
    with pytest.raises(cv.InputError, match=f"k must be from 1 to the 8 phrases that may be found, got {k}"):
        context.describe(np.zeros((1, 16, 16, 3), np.uint8), k)


def test_no_context(tmp_path):
    with pytest.raises(
        cv.InputError, match="context must be a folder made by ctxvision context train or build"
    ):
        cv.Context(tmp_path)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "context.json' is damaged .*: make the context again"),
        ('{"settings": {}}', "context.json' is damaged"),
        (
            '{"settings": {}, "kind": "queries", "data": {}, "format": 9}',
            "must have format 1 or less, got 9: use a newer ctxvision",
        ),
    ],
)
def test_a_damaged_or_newer_context(tmp_path, content, sentence):
    (tmp_path / "context.json").write_text(content)
    with pytest.raises(cv.InputError, match=sentence):
        cv.Context(tmp_path)


@pytest.mark.parametrize("stage", ["generator", "table", "text"])
def test_an_incomplete_context(copy, stage):
    shutil.rmtree(copy / stage)
    with pytest.raises(
        cv.InputError, match=f"must have the finished stage '{stage}', got none: make the context again"
    ):
        cv.Context(copy).describe(np.zeros((1, 16, 16, 3), np.uint8), 1)


def test_a_context_of_another_embedding_width(copy):
    stored = json.loads((copy / "context.json").read_text())
    stored["settings"]["embedding_dim"] = 32
    (copy / "context.json").write_text(json.dumps(stored))
    with pytest.raises(
        cv.InputError, match="must have the shapes of phrase_generator, got another architecture"
    ):
        _ = cv.Context(copy).phrase_generator


def test_the_same_call_keeps_the_context_and_another_call_is_refused(tiny_run, copy, tiny_data, capsys):
    config = cv.Context(copy).config
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*.npz")}
    cv.train_context(tiny_data, copy, config)
    assert {path: path.stat().st_mtime_ns for path in copy.rglob("*.npz")} == before
    assert "generator: done before, kept" in capsys.readouterr().err
    with pytest.raises(cv.InputError, match="context made with the same settings, .* where seed differ"):
        cv.train_context(tiny_data, copy, cv.ContextConfig.from_dict({**config.to_dict(), "seed": 4}))


def test_phrases_of_a_context_change_without_its_runs(tiny_run, copy, tmp_path):
    purple = np.full((2, 16, 16, 3), (130, 20, 160), np.uint8)
    number = cv.add_phrase(copy, "our mascot", purple)
    assert cv.Context(copy).describe(purple[:1], k=1)[0][0].phrase == "our mascot"
    assert cv.phrase_stats(copy).phrases == 13 and number == 12
    assert "our mascot" not in [one.phrase for one in cv.list_phrases(tiny_run)]
    cv.remove_phrases(copy, ["our mascot"])
    assert cv.phrase_stats(copy).phrases == 12
