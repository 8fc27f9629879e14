"""A tiny export, and the place of what verifies and asks it."""

import shutil
import sys
from pathlib import Path

import pytest

import ctxvision as cv
from ctxvision.serving.devserver.replay import WARMUP_FILE
from tests.tiny_model import tiny_classifier

EXPORT = Path(__file__).parents[2] / "export"
sys.path.insert(0, str(EXPORT))  # as for a script that lies there

LABELS = ["cat", "dog", "bird", "fish", "horse", "größe"]  # more than `serving_default` sorts


@pytest.fixture(scope="package")
def version(tmp_path_factory):
    """An exported version, in a folder of its own. Read only. No two of its sizes are the same."""
    return cv.export_saved_model(
        tiny_classifier(k=4, labels=LABELS), tmp_path_factory.mktemp("serving") / "2"
    )


@pytest.fixture(scope="package")
def served(version, tmp_path_factory):
    """DIR with a copy of it that servers start with quickly: it has no warm-up requests. Read only."""
    directory = tmp_path_factory.mktemp("served")
    shutil.copytree(version, directory / "2")
    (directory / "2" / WARMUP_FILE).unlink()
    return directory


@pytest.fixture(scope="package")
def loaded(version):
    from _verify.artefact import Artefact

    found = Artefact(version)
    found.load()
    return found
