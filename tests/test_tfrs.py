"""ScaNN's ops with a TensorFlow for which they were not built, each case in a fresh process."""

import subprocess
import sys
import textwrap

import pytest


@pytest.fixture
def foreign_scann(tmp_path):
    """Makes a scann package whose library does not load, like the real one's with another TensorFlow."""
    package = tmp_path / "scann"
    package.mkdir()
    (package / "_scann_ops.so").write_bytes(b"no library")
    (package / "__init__.py").write_text(
        "import pathlib\nimport tensorflow as tf\n"
        "tf.load_op_library(str(pathlib.Path(__file__).with_name('_scann_ops.so')))\n"
    )
    return tmp_path


def test_a_scann_that_does_not_load_counts_as_absent(foreign_scann):
    source = """
        import sys
        sys.path.insert(0, sys.argv[1])
        import ctxvision as cv
        print(cv.PrototypeRetrieval(backend="ivf").backend)
        print(cv.SiameseText.__name__)
        try:
            cv.PrototypeRetrieval(backend="scann")
        except ImportError as error:
            print(error)
    """
    command = [sys.executable, "-c", textwrap.dedent(source), str(foreign_scann)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    backend, trained, refused = done.stdout.splitlines()
    assert (backend, trained) == ("ivf", "SiameseText")
    assert "needs a scann package whose ops load beside TensorFlow" in refused
