"""A tiny export, and the path of the programs that verify and call it."""

import shutil
import sys
from pathlib import Path

import pytest

import ctxvision as cv
from ctxvision.serving.devserver.replay import WARMUP_FILE
from tests.tiny_model import tiny_classifier

EXPORT = Path(__file__).parents[2] / "export"
sys.path.insert(0, str(EXPORT))  # as for a script in that folder

LABELS = ["cat", "dog", "bird", "fish", "horse", "größe"]  # more than `serving_default` returns


@pytest.fixture(scope="package")
def version(tmp_path_factory):
    """Makes an exported version, in its own folder, whose sizes all differ. Tests must not change it."""
    return cv.export_saved_model(
        tiny_classifier(k=4, labels=LABELS), tmp_path_factory.mktemp("serving") / "2"
    )


@pytest.fixture(scope="package")
def served(version, tmp_path_factory):
    """Makes DIR with a copy without warm-up requests, so that servers start fast. Tests must not change it."""
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
