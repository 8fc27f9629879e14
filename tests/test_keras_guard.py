"""The effect of `import ctxvision` on Keras, each case in a fresh process."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parent.parent


def run(source: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source)],
        cwd=ROOT,
        env={**environment, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_works_without_scann_and_binds_keras_2():
    done = run(
        """
        import sys
        sys.modules["scann"] = None   # `import scann` raises ImportError from here on
        import ctxvision
        layer = ctxvision.PrototypeRetrieval(k=1)
        import tensorflow as tf
        print(layer.k, tf.keras.Model.__module__.partition(".")[0])
        """
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1", "tf_keras"]


def test_refuses_keras_3_that_is_bound_already():
    done = run(
        """
        import tensorflow as tf
        print(tf.keras.Model.__module__.partition(".")[0])
        import ctxvision
        """
    )
    assert done.stdout.split() == ["keras"]
    assert done.returncode == 1
    last_line = done.stderr.strip().splitlines()[-1]
    assert last_line.startswith("ImportError: ")
    assert "TF_USE_LEGACY_KERAS=1" in last_line


def test_tensorflow_imported_first_but_unused_is_fine():
    done = run("import tensorflow as tf, ctxvision; print(tf.keras.Model.__module__.partition('.')[0])")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["tf_keras"]
