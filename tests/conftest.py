"""The tiny run, which is trained once for all tests that need it."""

import atexit
import fcntl
import gc
import os
import shutil
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Tests run in as many processes as there are cores.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
if "PYTEST_XDIST_WORKER" not in os.environ:
    # The cache of shared features, for the processes of this session only.
    os.environ["CTXVISION_CACHE"] = tempfile.mkdtemp(prefix="ctxvision-tests-")
    atexit.register(shutil.rmtree, os.environ["CTXVISION_CACHE"], ignore_errors=True)

import numpy as np  # noqa: E402
import pytest  # noqa: E402
from PIL import Image  # noqa: E402

import ctxvision  # noqa: E402  (binds Keras 2 before any test touches tf.keras)
from ctxvision._tfrs import has_scann  # noqa: E402
from tests.tiny_data import NO_SCANN, tiny_settings, write_tiny_data  # noqa: E402


def pytest_collection_modifyitems(items):
    skip_scann_where_it_does_not_load(items)
    put_one_user_of_the_tiny_run_first(items)
    put_the_longest_module_first(items)


def skip_scann_where_it_does_not_load(items):
    """Skips tests with "scann" in their name or parameters if ScaNN's ops do not load."""
    of_scann = [item for item in items if "scann" in item.name]
    if of_scann and not has_scann():
        for item in of_scann:
            item.add_marker(pytest.mark.skip(reason=NO_SCANN))


def put_one_user_of_the_tiny_run_first(items):
    """Runs one module that needs the tiny run first, so that modules without it fill the time of its training."""
    needing = {item.module: True for item in items if "tiny_run" in item.fixturenames}
    first = next(iter(needing), None)
    items.sort(key=lambda item: 0 if item.module is first else 2 if item.module in needing else 1)


def put_the_longest_module_first(items):
    """Runs README's commands first, because at the end they would take minutes in one process while the other waits."""
    items.sort(key=lambda item: item.module.__name__ != "tests.test_readme")


@pytest.fixture(scope="module", autouse=True)
def frozen_garbage_collector():
    """Freezes objects of earlier modules, so that a garbage collection does not visit them and TensorFlow each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def made_once(tmp_path_factory, worker_id):
    """Makes a folder once for all processes of the session: the first process that asks calls `make(folder)`."""
    own = tmp_path_factory.getbasetemp()
    common = own if worker_id == "master" else own.parent

    def folder(name, make):
        with open(common / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (common / name).exists():
                make(common / f"{name}.unfinished")
                (common / f"{name}.unfinished").rename(common / name)
        return common / name

    return folder


@pytest.fixture(scope="session")
def tiny_data(made_once):
    return made_once("tiny-data", write_tiny_data)


@pytest.fixture(scope="session")
def tiny_run(tiny_data, made_once, tmp_path_factory):
    """The tiny run, read only: a test that changes a run copies it first. Each process may lock its own copy."""

    def train(out):
        ctxvision.train(tiny_data, out, ctxvision.Config.from_dict(tiny_settings(tiny_data)))

    copy = tmp_path_factory.mktemp("runs") / "run"
    return ctxvision.Run(shutil.copytree(made_once("tiny-run", train), copy))


@pytest.fixture(scope="session")
def multi_label_run(tiny_data, tiny_run, made_once, tmp_path_factory):
    """A run over the context of `tiny_run` whose pictures have a colour and warm or cold as labels; read only."""

    def train(out):
        settings = {
            **tiny_settings(tiny_data),
            "multi_label": True,
            "label_column": "label|coarse_label",
            "fractions": [1.0],
            "visual_steps": 120,
            "head_steps": 95,  # twice as many steps for several labels; from 200 on XLA compiles each head
            "seeds": 2,
        }
        ctxvision.train(tiny_data, out, ctxvision.Config.from_dict(settings), tiny_run.directory / "context")

    copy = tmp_path_factory.mktemp("runs") / "multi-label"
    return ctxvision.Run(shutil.copytree(made_once("multi-label-run", train), copy))


@pytest.fixture(scope="module")
def kept_run(tiny_run):
    """The tiny run for tests that change nothing; its built parts are kept between tests."""
    return ctxvision.Run(tiny_run.directory)


@pytest.fixture
def run(tiny_run, tmp_path):
    return ctxvision.Run(shutil.copytree(tiny_run.directory, tmp_path / "run"))


@pytest.fixture(scope="module")
def purple():
    """Pictures uint8 [3, 16, 16, 3] of a colour that no query names."""
    noise = np.random.default_rng(0).normal(0, 10, (3, 16, 16, 3))
    return np.clip(np.array([130, 20, 160]) + noise, 0, 255).astype(np.uint8)


@pytest.fixture
def folder(purple, tmp_path):
    """The purple pictures as files, beside a file that is not a picture by its name."""
    (tmp_path / "pictures" / "more").mkdir(parents=True)
    for name, pixels in zip(("a.png", "b.BMP", "more/c.png"), purple, strict=True):
        Image.fromarray(pixels).save(tmp_path / "pictures" / name)
    (tmp_path / "pictures" / "notes.txt").write_text("no picture")
    return tmp_path / "pictures"
