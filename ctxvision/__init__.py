"""ctxvision: image classification from pixels alone, with context from predicted search phrases."""

import importlib
from typing import Any

from ctxvision._keras_guard import ensure_keras_2

ensure_keras_2()

__version__ = "0.1.0"

# Public name to the module that holds it; modules load when first asked for, so that `import ctxvision` is quick.
_PUBLIC = {
    "Config": "training",
    "ContextClassifier": "models",
    "ContextFusion": "layers",
    "ContextPooling": "layers",
    "DualEncoderText": "layers",
    "InputError": "errors",
    "Manifest": "data",
    "PhraseGenerator": "layers",
    "PhraseTable": "prototypes",
    "PrototypeRetrieval": "layers",
    "QueryClassifier": "models",
    "Run": "training",
    "SiameseText": "models",
    "VisualEncoder": "layers",
    "add_phrase": "training",
    "build_phrases": "training",
    "build_prototypes": "prototypes",
    "check_data": "data",
    "demo": "pipeline",
    "demo_prediction": "serving",
    "evaluate": "pipeline",
    "explain": "models",
    "export": "pipeline",
    "export_saved_model": "serving",
    "list_phrases": "training",
    "load_data": "data",
    "phrase_stats": "training",
    "plan": "training",
    "predict": "serving",
    "record_batches": "data",
    "remove_phrases": "training",
    "report": "pipeline",
    "search_phrases": "training",
    "train": "pipeline",
}

__all__ = [*_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'ctxvision' has no attribute {name!r}")
    return getattr(importlib.import_module(f"ctxvision.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
