"""The examples in docstrings are run, and mypy checks those of public names.

An example may use `cv`, `np`, `tf`, `keras` and `pixels` (uint8 [4, 20, 20, 3]), and the files that `workplace` lays.
"""

import doctest
import importlib
import json
import pkgutil
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from PIL import Image

import ctxvision as cv
from ctxvision._tfrs import has_scann
from tests.tiny_data import COLOURS, tiny_settings
from tools.write_tfrecords import write_tfrecords

ROOT = Path(__file__).parents[1]
SLOW = {
    "Server",
    "VersionManager",
    "build_context",
    "evaluate",
    "plan",
    "train",
    "train_context",
}
OUTPUT = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
# Examples that download weights, or train the demo as tests/test_cli.py does.
LEFT_OUT = {"ctxvision.kerashub.process.convert_preset", "demo", "demo_prediction"}


def examples_of_public_names():
    for name in cv.__all__:
        yield from doctest.DocTestFinder().find(getattr(cv, name), name, module=False)


def examples_of_modules():
    for module in pkgutil.walk_packages(cv.__path__, "ctxvision."):
        if module.name.endswith("__main__") or module.name == "ctxvision.kerashub.convert":
            continue
        if "retrieval.scann_" in module.name and not has_scann():
            continue
        yield from doctest.DocTestFinder().find(importlib.import_module(module.name), module.name)


PUBLIC = {test.name: test for test in examples_of_public_names() if test.examples}
_KNOWN = {test.docstring for test in PUBLIC.values()}
OTHERS = {
    test.name: test
    for test in examples_of_modules()
    if test.examples and test.docstring not in _KNOWN and test.name not in LEFT_OUT
}
EXAMPLES = {name: test for name, test in {**PUBLIC, **OTHERS}.items() if name not in LEFT_OUT}


class Towers(tf.Module):
    """Two towers of no meaning, as wide as those that people use are at least."""

    def __init__(self):
        self.words = tf.random.stateless_normal([1000, 256], seed=[0, 0])
        self.colours = tf.random.stateless_normal([3, 256], seed=[0, 1])

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def text(self, texts):
        return {"vectors": tf.gather(self.words, tf.strings.to_hash_bucket_fast(texts, 1000))}

    @tf.function(input_signature=[tf.TensorSpec([None, 32, 32, 3], tf.float32)])
    def picture(self, pixels):
        return {"vectors": tf.reduce_mean(pixels, axis=[1, 2]) @ self.colours}


def lay_towers(folder):
    towers = Towers()
    for name, signature in (("text", towers.text), ("picture", towers.picture)):
        tf.saved_model.save(towers, str(folder / "clip" / name), signatures={"serving_default": signature})
    (folder / "clip" / "picture" / "tower.json").write_text(json.dumps({"pixels": "0..1", "image_size": 32}))
    (folder / "phrases.txt").write_text("".join(f"phrase {number}\n" for number in range(300)))


def lay_pictures(folder, data):
    shutil.copytree(data, folder / "photos")
    (folder / "mascot").mkdir()
    for number, colour in enumerate(COLOURS):
        shutil.copy(data / "images" / f"test-easy-{number}.png", folder / "mascot" / f"{colour}.png")
    Image.open(folder / "mascot" / "red.png").save(folder / "picture.jpg")
    write_tfrecords([str(data)], str(folder / "records"))


@pytest.fixture(scope="module")
def laid(tiny_data, tiny_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("laid")
    lay_pictures(folder, tiny_data)
    lay_towers(folder)
    shutil.copytree(tiny_run.directory, folder / "runs" / "photos")
    shutil.copytree(tiny_run.directory / "context", folder / "contexts" / "web")
    shutil.copytree(tiny_run.directory / "export", folder / "serving" / "photos")
    (folder / "settings.json").write_text(json.dumps(tiny_settings(tiny_data)))
    return folder


@pytest.fixture
def workplace(name, laid, tmp_path, monkeypatch):
    """A folder with copies of the files that an example names, which it may change."""
    for path in laid.iterdir():
        if path.name in EXAMPLES[name].docstring:
            copy = shutil.copytree if path.is_dir() else shutil.copy
            copy(path, tmp_path / path.name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def pixels(tiny_data):
    return np.stack([Image.open(tiny_data / "images" / f"test-easy-{number}.png") for number in range(4)])


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name.rpartition(".")[2] in SLOW else ())
        for name in EXAMPLES
    ],
)
def test_example(name, workplace, pixels):
    EXAMPLES[name].globs.update(cv=cv, np=np, tf=tf, keras=keras, pixels=pixels)
    told: list[str] = []
    assert doctest.DocTestRunner(optionflags=OUTPUT).run(EXAMPLES[name], out=told.append).failed == 0, (
        "".join(told)
    )


def test_every_public_name_has_an_example():
    assert [name for name in cv.__all__ if name not in PUBLIC] == []


def module_of(examples_of):
    """Returns the source of a module with a function for each example."""
    lines = [
        "import ctxvision as cv",
        "import numpy as np",
        "import tensorflow as tf",
        "import tf_keras as keras",
    ]
    for name, examples in examples_of.items():
        lines += [f"def {name.replace('.', '_')}_example(pixels: np.ndarray) -> None:"]
        lines += [f"    {line}" for part in examples for line in part.source.splitlines()]
    return "\n".join(lines) + "\n"


def mypy(*files):
    """Returns what mypy reports about these files, which import the package as a user's program does."""
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", "setup.cfg", "--no-implicit-reexport", *files],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert not done.stderr, done.stderr
    return [line for line in done.stdout.splitlines() if ": error:" in line or ": note: Revealed" in line]


@pytest.mark.slow
def test_the_types_of_examples(tmp_path):
    (tmp_path / "right.py").write_text(module_of({name: test.examples for name, test in PUBLIC.items()}))
    wrong = doctest.DocTestParser().get_examples(">>> cv.plan(queries='many', images=1, devices='cpu-2')\n")
    (tmp_path / "wrong.py").write_text(module_of({"wrong": wrong}))
    (error,) = mypy(tmp_path / "right.py", tmp_path / "wrong.py")
    assert "wrong.py" in error and 'Argument "queries" to "plan"' in error


@pytest.mark.slow
def test_type_checkers_see_each_public_name(tmp_path):
    names = [*cv.__all__, "__version__"]
    lines = ["import ctxvision as cv", *(f"reveal_type(cv.{name})" for name in names), "cv.Runs"]
    (tmp_path / "revealed.py").write_text("\n".join(lines))
    *revealed, error = mypy(tmp_path / "revealed.py")
    assert len(revealed) == len(names)
    assert [line for line in revealed if 'is "Any"' in line] == []
    assert 'Module has no attribute "Runs"' in error
