"""ctxvision: image classification from pixels alone, with context from predicted search phrases."""

import ast
import importlib
from pathlib import Path
from typing import Any

from ctxvision._keras_guard import ensure_keras_2

ensure_keras_2()

__version__ = "0.2.0"


def _public_names() -> dict[str, str]:
    """Returns the module of each public name; `__init__.pyi` is their only list, which type checkers read too."""
    stub = Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8")
    imports = [node for node in ast.parse(stub).body if isinstance(node, ast.ImportFrom)]
    return {alias.name: f"ctxvision.{node.module}" for node in imports for alias in node.names}


_MODULE_OF = _public_names()
__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    """Loads a public name on first use, so that `import ctxvision` is fast."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'ctxvision' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
