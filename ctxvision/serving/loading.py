"""Exports found on disk and loaded with tensorflow alone."""

import importlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from ctxvision._files import read_json
from ctxvision.errors import InputError

_OP_LIBRARIES = ("scann", "tensorflow_text")


@dataclass(frozen=True)
class LoadedExport:
    """A version in memory.

    Attributes:
        version: the number that names its folder.
        directory: the folder.
        saved_model: what `tf.saved_model.load` returned; it keeps the variables alive.
        defaults: of the inputs that a request may leave out, by signature.
    """

    version: int
    directory: Path
    saved_model: Any
    defaults: dict[str, dict[str, TensorProto]]

    @property
    def signatures(self) -> dict[str, Any]:
        """Name to function, which takes and returns named tensors."""
        return self.saved_model.signatures


def find_version(directory: str | os.PathLike[str]) -> Path:
    """The folder of the highest version in `directory`, or `directory` itself where it is a version's.

    Raises:
        InputError: there is no version.
    """
    directory = Path(directory)
    if (directory / "saved_model.pb").is_file():
        return directory
    versions = [
        path
        for path in (directory.iterdir() if directory.is_dir() else ())
        if path.name.isascii() and path.name.isdigit() and (path / "saved_model.pb").is_file()
    ]
    if not versions:
        raise InputError(
            f"directory must hold an export as DIR/<version>/saved_model.pb, got {str(directory)!r}, which does not: "
            f"write one with 'ctxvision export RUN --to DIR'."
        )
    return max(versions, key=lambda path: int(path.name))


def load_export(directory: str | os.PathLike[str]) -> LoadedExport:
    """Loads the highest version in `directory`, and before that the op libraries that it says it needs.

    Raises:
        InputError: there is no version, it is damaged, or it needs a package that is not installed.
    """
    version = find_version(directory)
    description = version / "assets" / "ctxvision.json"
    try:
        for library in read_json(description)["needs"] if description.is_file() else ():
            if library not in _OP_LIBRARIES:
                raise ValueError(library)
            importlib.import_module(library)  # registers its ops
    except ModuleNotFoundError as error:
        raise InputError(
            f"the export {str(version)!r} needs {error.name}, which is not installed: install it, or export "
            f"{'without --with-text' if error.name == 'tensorflow_text' else 'with --retrieval ivf'}."
        ) from error
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise InputError(
            f"the export {str(version)!r} has a damaged {description.name}: export again."
        ) from error
    try:
        saved_model = tf.saved_model.load(str(version))
    except (OSError, tf.errors.OpError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"the export {str(version)!r} must be a whole SavedModel, but it does not load ({reason}): export again."
        ) from error
    number = int(version.name) if version.name.isascii() and version.name.isdigit() else 1
    return LoadedExport(number, version, saved_model, _defaults(version))


def _defaults(version: Path) -> dict[str, dict[str, TensorProto]]:
    saved = SavedModel.FromString((version / "saved_model.pb").read_bytes())
    signatures = saved.meta_graphs[0].signature_def
    return {name: dict(signature.defaults) for name, signature in signatures.items()}
