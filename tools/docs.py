"""Writes the API reference into a folder: every public name of ctxvision and its modules, by pdoc.

$ python tools/docs.py docs
"""

import importlib
import operator
import sys
import warnings
from pathlib import Path

import pdoc
import tensorflow as tf

TEMPLATES = Path(__file__).parent / "_docs"
MODULES = [
    "ctxvision",
    *(f"ctxvision.{name}" for name in ("data", "vocabulary", "layers", "losses", "metrics", "serving")),
]
SHORT = ("Tensor", "Variable", "data.Dataset", "distribute.Strategy")


def write_reference(folder: Path) -> None:
    """Writes `index.html` and the pages. Raises a warning of pdoc's, such as a name that does not resolve."""
    for module in map(importlib.import_module, MODULES):
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
        specs = [spec for module in MODULES for spec in (module, rf"!{module}\.")]
        pdoc.pdoc(*specs, output_directory=folder)


if __name__ == "__main__":
    write_reference(Path(sys.argv[1]))
