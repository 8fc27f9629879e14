"""One tiny run, trained once for all tests that need one."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import pytest  # noqa: E402

import ctxvision  # noqa: E402  (binds Keras 2 before any test touches tf.keras)
from tests.tiny_data import SETTINGS, write_tiny_data  # noqa: E402


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory):
    return write_tiny_data(tmp_path_factory.mktemp("tiny") / "data")


@pytest.fixture(scope="session")
def tiny_run(tiny_data, tmp_path_factory):
    """Read only: a test that changes a run copies it first."""
    out = tmp_path_factory.mktemp("runs") / "run"
    return ctxvision.train(tiny_data, out, ctxvision.Config.from_dict(SETTINGS))
