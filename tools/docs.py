"""Writes the API reference into a folder: the public names of ctxvision and what their docstrings refer to, by pdoc.

$ python tools/docs.py docs
"""

import importlib
import operator
import sys
import warnings
from pathlib import Path
from types import ModuleType

import pdoc
import tensorflow as tf

TEMPLATES = Path(__file__).parent / "_docs"
PAGES = (
    "data",
    "data.image_folder",
    "data.imagenet",
    "data.webvision",
    "data.open_images",
    "data.captions",
    "data.tfds",
    "data.records",
    "data.associations",
    "data.label_names",
    "vocabulary",
    "layers",
    "losses",
    "metrics",
    "training.strategies",
    "training.fine_tuning",
    "context.phrases",
    "context.quality",
    "classifier.run_folder",
    "classifier.concepts",
    "classifier.assembly",
    "serving",
    "serving.signatures.build",
)
SHORT = ("Tensor", "Variable", "data.Dataset", "distribute.Strategy")


def public_names(module: ModuleType) -> list[str]:
    """`__all__`, or else what the module itself defines without an underscore."""
    defined = [
        name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__
    ]
    return getattr(module, "__all__", [name for name in defined if not name.startswith("_")])


def write_reference(folder: Path) -> None:
    """Writes `index.html` and the pages. Raises a warning of pdoc's, such as a name that does not resolve."""
    names = ["ctxvision", *(f"ctxvision.{page}" for page in PAGES)]
    for module in map(importlib.import_module, names):
        module.__all__ = public_names(module)
        # pdoc reads a module's dictionary. Lazy names are bound there only after the first use.
        vars(module).update({name: getattr(module, name) for name in module.__all__})
    for name in SHORT:
        # Signatures name these classes as users do, not by TensorFlow's inner modules.
        found = operator.attrgetter(name)(tf)
        found.__module__, _, found.__qualname__ = f"tf.{name}".rpartition(".")
    pdoc.docstrings.GOOGLE_LIST_SECTIONS.append("Call arguments")
    pdoc.render.configure(docformat="google", template_directory=TEMPLATES)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        specs = [spec for name in names for spec in (name, rf"!{name}\.")]
        pdoc.pdoc(*specs, output_directory=folder)


if __name__ == "__main__":
    write_reference(Path(sys.argv[1]))
