"""One tiny run, trained once for all tests that need one."""

import json
import os
import shutil

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


@pytest.fixture(scope="session")
def multi_label_run(tiny_run, tmp_path_factory):
    """The colours and whether they are warm, as several labels a picture; what does not depend on labels is taken
    from `tiny_run`. Read only."""
    out = tmp_path_factory.mktemp("runs") / "multi-label"
    for stage in ("phrases", "prototypes", "text", "features/phrases"):
        shutil.copytree(tiny_run.directory / stage, out / stage)
    config = json.loads((tiny_run.directory / "config.json").read_text())
    config["settings"] |= {
        "multi_label": True,
        "label_column": "label|coarse_label",
        "fractions": [1.0],
        "visual_steps": 120,
        "head_steps": 120,
        "seeds": 2,
    }
    (out / "config.json").write_text(json.dumps(config))
    run = ctxvision.Run(out)
    return ctxvision.train(run.data_folder, out, run.config)
