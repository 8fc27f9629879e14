"""`ctxvision doctor` in an installation that works, lacks packages, or is broken."""

import os
import subprocess
import sys

import pytest
import tensorflow as tf

import ctxvision
from ctxvision import _tfrs
from ctxvision.cli import main

NAMES = ["ctxvision", "Python", "platform", "TensorFlow", "Keras", "ScaNN", "TF.Text", "TFRS", "serving API"]
NAMES += ["GPUs", "CPU cores", "memory", "disk"]


def told(out):
    """Name of each line to its text."""
    lines = {line[:12].strip(): line[13:] for line in out.splitlines()}
    assert list(lines) == NAMES
    return lines


def test_an_installation_that_works(capsys):
    assert main(["doctor"]) == 0
    lines = told(capsys.readouterr().out)
    assert lines["ctxvision"] == ctxvision.__version__ and lines["TensorFlow"] == tf.__version__
    assert lines["Keras"].startswith("tf_keras 2.") and lines["Keras"].endswith("bound to tf.keras")
    assert lines["CPU cores"] == str(os.cpu_count()) and float(lines["memory"].split()[0]) > 0
    assert lines["disk"].endswith(f" GB free in {os.getcwd()}")


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("TensorFlow", "tensorflow"),
        ("TF.Text", "tensorflow_text"),
        ("TFRS", "tensorflow_recommenders"),
        ("serving API", "tensorflow_serving.apis.predict_pb2"),
    ],
)
def test_a_package_that_is_missing(name, module, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, module, None)
    assert main(["doctor"]) == 1
    lines = told(capsys.readouterr().out)
    assert lines[name].startswith("missing: ") and module in lines[name]
    assert lines["Python"] == ".".join(map(str, sys.version_info[:3])) and lines["memory"].endswith("GB")


@pytest.mark.parametrize(("loads", "end"), [(True, "its ops load"), (False, "scann is not available")])
def test_scann_is_not_needed(loads, end, monkeypatch, capsys):
    monkeypatch.setattr(_tfrs, "has_scann", lambda: loads)
    assert main(["doctor"]) == 0
    assert told(capsys.readouterr().out)["ScaNN"].endswith(end)


def test_another_keras(monkeypatch, capsys):
    monkeypatch.setattr(tf.keras.Model, "__module__", "keras.src.models.model")
    assert main(["doctor"]) == 1
    expected = "broken: ImportError: tf.keras is keras, ctxvision needs tf_keras."
    assert told(capsys.readouterr().out)["Keras"] == expected


def test_a_package_that_is_broken(tmp_path):
    (tmp_path / "tensorflow.py").write_text("raise RuntimeError('undefined symbol: x\\nmore')")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    command = [sys.executable, "-m", "ctxvision", "doctor"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr == ""
    assert told(done.stdout)["TensorFlow"] == "broken: RuntimeError: undefined symbol: x"
