"""ctxvision: image classification from pixels alone, with context from predicted search phrases."""

import importlib
from typing import Any

from ctxvision._keras_guard import ensure_keras_2

ensure_keras_2()

__version__ = "0.2.0"

# Maps public names to their modules, which load on first use, so that `import ctxvision` is fast.
_PUBLIC = {
    "Config": "classifier.config",
    "Context": "context.context",
    "ContextConfig": "context.config",
    "ContextClassifier": "models",
    "ContextTagger": "models",
    "ContextFusion": "layers",
    "ContextPooling": "layers",
    "DualEncoderText": "layers",
    "InputError": "errors",
    "Manifest": "data",
    "PhraseEmbeddings": "layers",
    "PhraseGenerator": "layers",
    "PhraseTable": "vocabulary",
    "PrototypeRetrieval": "layers",
    "QueryClassifier": "models",
    "QueryNeeds": "data.training_check",
    "Run": "classifier.run",
    "SiameseText": "models",
    "VisualEncoder": "layers",
    "add_phrase": "classifier.phrases",
    "build_context": "context.two_towers",
    "build_prototypes": "vocabulary",
    "check_data": "data",
    "demo": "demo_run",
    "demo_prediction": "demo_run",
    "evaluate": "pipeline",
    "evaluate_context": "context.evaluate",
    "explain": "models",
    "export": "pipeline",
    "export_context": "pipeline",
    "export_saved_model": "serving",
    "list_phrases": "classifier.phrases",
    "load_data": "data",
    "phrase_stats": "classifier.phrases",
    "plan": "classifier.plan",
    "predict": "serving",
    "predict_to_file": "serving",
    "record_batches": "data",
    "remove_phrases": "classifier.phrases",
    "search_phrases": "classifier.phrases",
    "train": "pipeline",
    "train_context": "context.train",
    "write_report": "pipeline",
}

__all__ = [*_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'ctxvision' has no attribute {name!r}")
    return getattr(importlib.import_module(f"ctxvision.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
