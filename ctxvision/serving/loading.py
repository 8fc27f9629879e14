"""Finds exports on disk and loads them with TensorFlow alone."""

import importlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from ctxvision._files import read_json
from ctxvision.errors import InputError

MODEL_FILE = "saved_model.pb"
_OP_LIBRARIES = ("scann", "tensorflow_text")


@dataclass(frozen=True)
class LoadedExport:
    """A version of an export in memory.

    Attributes:
        version: the number that names its folder.
        directory: the folder.
        saved_model: the object from `tf.saved_model.load`, which keeps the variables alive.
        signature_defs: the definitions of the signatures, with the `defaults` of optional inputs.
    """

    version: int
    directory: Path
    saved_model: Any
    signature_defs: dict[str, SignatureDef]

    @property
    def signatures(self) -> dict[str, Any]:
        """The signatures by name; each takes and returns named tensors."""
        return self.saved_model.signatures


def versions_in(directory: str | os.PathLike[str]) -> dict[int, Path]:
    """Returns the folders in `directory` that are named by a whole number, with any content, by number.

    A `directory` that is itself a version is the only entry, under its number or 1.

    Raises:
        OSError: the directory does not exist or cannot be read.
    """
    directory = Path(directory)
    if (directory / MODEL_FILE).is_file():
        return {int(directory.name) if _is_number(directory.name) else 1: directory}
    return {int(path.name): path for path in directory.iterdir() if _is_number(path.name) and path.is_dir()}


def find_version(directory: str | os.PathLike[str]) -> Path:
    """Returns the folder of the highest version in `directory`, or `directory` itself if it is a version.

    Raises:
        InputError: there is no version.
    """
    found = versions_in(directory) if Path(directory).is_dir() else {}
    whole = {number: path for number, path in found.items() if (path / MODEL_FILE).is_file()}
    if not whole:
        raise no_version(directory)
    return whole[max(whole)]


def no_version(directory: str | os.PathLike[str]) -> InputError:
    """Returns the error for a directory without versions."""
    return InputError(
        f"directory must hold an export as DIR/<version>/saved_model.pb, got {str(directory)!r}, which does not: write "
        "an export with 'ctxvision export RUN --to DIR'."
    )


def load_export(directory: str | os.PathLike[str]) -> LoadedExport:
    """Loads the highest version in `directory`, after the op libraries that it needs.

    Raises:
        InputError: there is no version, it is damaged, or it needs a package that is not installed or does not load.
    """
    version = find_version(directory)
    description = version / "assets" / "ctxvision.json"
    try:
        for library in read_json(description)["needs"] if description.is_file() else ():
            if library not in _OP_LIBRARIES:
                raise ValueError(library)
            importlib.import_module(library)  # registers the library's ops
    except ModuleNotFoundError as error:
        raise InputError(
            f"the export {str(version)!r} needs {error.name}, which is not installed: install it, or export "
            f"{'without --with-text' if error.name == 'tensorflow_text' else 'with --retrieval ivf'}."
        ) from error
    except tf.errors.NotFoundError as error:
        raise InputError(
            f"the export {str(version)!r} needs the ops of {library}, which do not load beside TensorFlow "
            f"{tf.__version__}: install versions of both that fit together, or export with --retrieval ivf and without "
            "--with-text."
        ) from error
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise InputError(
            f"the export {str(version)!r} has a damaged {description.name}: export again."
        ) from error
    try:
        saved_model = tf.saved_model.load(str(version))
    except Exception as error:  # TensorFlow raises errors of nearly any type for a damaged file
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(
            f"the export {str(version)!r} must be a whole SavedModel, but it does not load ({reason}): export again."
        ) from error
    (number,) = versions_in(version)
    return LoadedExport(number, version, saved_model, _signature_defs(version))


def _signature_defs(version: Path) -> dict[str, SignatureDef]:
    saved = SavedModel.FromString((version / MODEL_FILE).read_bytes())
    return dict(saved.meta_graphs[0].signature_def)


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit()
