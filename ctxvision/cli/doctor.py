"""Facts about the installation and the machine, for a bug report."""

import functools
import importlib
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from importlib import metadata
from typing import NamedTuple

import ctxvision


class Finding(NamedTuple):
    """One line of the report; `works` is False for a needed part that is missing or broken."""

    name: str
    told: str
    works: bool


def diagnose() -> Iterator[Finding]:
    """Checks one part after the other, so that a crash of the process shows which part caused it."""
    for name, needed, check in _CHECKS:
        try:
            yield Finding(name, check(), True)
        except Exception as error:  # a broken package raises anything
            state = "missing" if isinstance(error, ModuleNotFoundError) else f"broken: {type(error).__name__}"
            yield Finding(name, ": ".join([state, *str(error).splitlines()[:1]]), not needed)


def version_of(distribution: str) -> str:
    """Returns the installed version, or "not installed"."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"


def _import(module: str, distribution: str) -> str:
    importlib.import_module(module)
    return version_of(distribution)


def _keras() -> str:
    import tensorflow as tf

    bound = tf.keras.Model.__module__.partition(".")[0]
    if bound != "tf_keras":
        raise ImportError(f"tf.keras is {bound}, ctxvision needs tf_keras.")
    return f"tf_keras {version_of('tf_keras')}, bound to tf.keras"


def _scann() -> str:
    from ctxvision._tfrs import has_scann

    return f"{version_of('scann')}, its ops {'load' if has_scann() else 'do not load: --retrieval scann is not available'}"


def _gpus() -> str:
    import tensorflow as tf

    return ", ".join(gpu.name for gpu in tf.config.list_physical_devices("GPU")) or "none"


def _memory() -> str:
    return _gigabytes(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def _disk() -> str:
    return f"{_gigabytes(shutil.disk_usage('.').free)} free in {os.getcwd()}"


def _gigabytes(number: int) -> str:
    return f"{number / 1e9:,.1f} GB"


# Name, whether ctxvision needs it, and its check. TFRS imports ScaNN, so ScaNN is checked first.
_CHECKS: tuple[tuple[str, bool, Callable[[], str]], ...] = (
    ("ctxvision", True, lambda: ctxvision.__version__),
    ("Python", True, platform.python_version),
    ("platform", True, platform.platform),
    ("TensorFlow", True, functools.partial(_import, "tensorflow", "tensorflow")),
    ("Keras", True, _keras),
    ("ScaNN", False, _scann),
    ("TF.Text", True, functools.partial(_import, "tensorflow_text", "tensorflow-text")),
    ("TFRS", True, functools.partial(_import, "tensorflow_recommenders", "tensorflow-recommenders")),
    (
        "serving API",
        True,
        functools.partial(_import, "tensorflow_serving.apis.predict_pb2", "tensorflow-serving-api"),
    ),
    ("GPUs", False, _gpus),
    ("CPU cores", False, lambda: str(os.cpu_count())),
    ("memory", False, _memory),
    ("disk", False, _disk),
)
