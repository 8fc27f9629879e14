"""A second generator that learns few queries."""

import shutil

import numpy as np
import pytest

import ctxvision as cv
from ctxvision.context import small
from ctxvision.context.small import small_context
from ctxvision.training.progress import Progress


@pytest.fixture(scope="module")
def context(tiny_run, tmp_path_factory):
    return cv.Context(
        shutil.copytree(tiny_run.directory / "context", tmp_path_factory.mktemp("small") / "context")
    )


@pytest.mark.slow
def test_the_most_frequent_queries_are_its_classes_and_all_its_phrases(context, monkeypatch):
    monkeypatch.setattr(small, "FEWEST", 4)
    found = small_context(context, Progress())
    assert found.directory == context.directory / "small"
    assert 2 <= len(found.classes) < len(context.classes)
    assert set(found.phrase_table.phrases) == set(context.phrase_table.phrases)
    counts = dict(zip(context.phrase_table.phrases, np.asarray(context.phrase_table.counts)))
    others = set(context.classes) - set(found.classes)
    assert min(counts[query] for query in found.classes) >= max(counts[query] for query in others)
    before = found.fingerprint
    assert small_context(context, Progress()).fingerprint == before != context.fingerprint


def test_a_context_from_two_towers_has_none(context, monkeypatch):
    monkeypatch.setattr(context, "kind", "two-towers")
    with pytest.raises(
        cv.InputError, match="needs a context that was learnt from queries, got one from two towers"
    ):
        small_context(context, Progress())


def test_pictures_that_are_gone(context, tmp_path, monkeypatch):
    moved = cv.Context(shutil.copytree(context.directory, tmp_path / "context"))
    path = moved.directory / "context.json"
    path.write_text(path.read_text().replace('"folder": "', '"folder": "/nowhere'))
    with pytest.raises(cv.InputError, match="nowhere"):
        small_context(moved, Progress())
