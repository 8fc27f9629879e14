"""A second generator that learns few queries."""

import re
import shutil

import numpy as np
import pytest

import ctxvision as cv
from ctxvision.context import small
from ctxvision.context.small import small_context
from ctxvision.training.progress import Progress
from tests.tiny_data import tiny_settings


@pytest.fixture(scope="module")
def context(tiny_run, tmp_path_factory):
    return cv.Context(
        shutil.copytree(tiny_run.directory / "context", tmp_path_factory.mktemp("small") / "context")
    )


def test_queries_with_equal_numbers_of_pictures(context, monkeypatch):
    monkeypatch.setattr(small, "FEWEST", 4)
    with pytest.raises(
        cv.InputError, match="needs queries that differ in their number of pictures, got 8 queries"
    ):
        small_context(context, Progress())


@pytest.mark.slow
def test_the_most_frequent_queries_are_its_classes_and_all_its_phrases(tiny_data, tmp_path, monkeypatch):
    data = shutil.copytree(tiny_data, tmp_path / "data")
    lines = (data / "images.csv").read_text().splitlines()
    # Only one query found half of the web pictures.
    rare = [re.sub(r"\|(ripe tomato|deep sea)(\|\w+,en)\|en", r"\2", line) for line in lines[49:]]
    assert rare != lines[49:]
    (data / "images.csv").write_text("\n".join([*lines[:49], *rare]) + "\n")
    settings = {n: v for n, v in tiny_settings(data).items() if n in cv.ContextConfig.names()}
    config = cv.ContextConfig.from_dict({**settings, "languages": ["en"]})
    context = cv.train_context(data, tmp_path / "context", config)
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


def test_missing_pictures(context, tmp_path, monkeypatch):
    moved = cv.Context(shutil.copytree(context.directory, tmp_path / "context"))
    path = moved.directory / "context.json"
    path.write_text(path.read_text().replace('"folder": "', '"folder": "/nowhere'))
    with pytest.raises(cv.InputError, match="nowhere"):
        small_context(moved, Progress())
