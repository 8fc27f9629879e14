"""Writes a classifier or a tagger as a SavedModel that TensorFlow Serving runs."""

import os
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import tensorflow as tf

import ctxvision
from ctxvision._files import atomic_directory, write_json
from ctxvision.errors import InputError
from ctxvision.models.context_classifier import ContextClassifier
from ctxvision.models.context_tagger import ContextTagger
from ctxvision.serving.signatures import build_signatures
from ctxvision.serving.signatures.build import Traced
from ctxvision.serving.signatures.tag import build_tagger
from ctxvision.serving.warmup import write_warmup


def export_saved_model(
    model: ContextClassifier,
    directory: str | os.PathLike[str],
    retrieval: str | None = None,
    with_text: bool = False,
    facts: Mapping[str, Any] | None = None,
) -> Path:
    """Writes a classifier with its labels and vocabulary into one SavedModel, completely or not at all.

    Args:
        model: a built `ContextClassifier`.
        directory: folder of the version, `MODEL/<number>` as TF Serving wants it; new or empty.
        retrieval: backend that the model must have, `"ivf"`, `"exact"` or `"scann"`; any by default.
        with_text: whether to export the text encoder for the caller's own words. It needs the ops of TF.Text, which a
            stock TF Serving has. Without it, the export holds the vocabulary's text embeddings and only core ops.
        facts: further facts about the training, any JSON; the export tells them.

    Returns:
        The directory. Beside the SavedModel it holds:
        `assets/labels.txt`, one label per line in the order of `probabilities`;
        `assets/ctxvision.json`, the facts of the signature `about`: labels, thresholds, signatures, needed op
        libraries, versions and `facts`;
        `assets.extra/tf_serving_warmup_requests`.
        For the signatures see `build_signatures`.

    Raises:
        InputError: the directory's name is not a whole number, or the directory holds something; or the model has
            another backend, or no text encoder for `with_text`.

    Example:
        >>> model = cv.Run("runs/photos").classifier
        >>> directory = cv.export_saved_model(model, "serving/birds/1")
    """
    directory = _checked(directory)
    if retrieval not in (None, model.retrieval.backend):
        raise InputError(
            f"retrieval must be the model's backend {model.retrieval.backend!r}, got {retrieval!r}: build the "
            f"classifier with PrototypeRetrieval(backend={retrieval!r})."
        )
    if with_text and model.text is None:
        raise InputError(
            "with_text must be left out for a model that has no text encoder, such as one from two towers, got "
            "True: callers embed their words themselves, for the signature zero_shot."
        )
    traced = build_signatures(model, with_text, {**_versions(), **(facts or {})})
    _write(traced, directory, model.image_size)
    return directory


def export_tagger(
    tagger: ContextTagger, directory: str | os.PathLike[str], facts: Mapping[str, Any] | None = None
) -> Path:
    """Writes a tagger with its vocabulary into one SavedModel of core ops, completely or not at all.

    Args:
        tagger: the tagger of a context.
        directory: folder of the version, see `export_saved_model`.
        facts: further facts about the context, any JSON.

    Returns:
        The directory; for the signatures see `build_tagger`.

    Raises:
        InputError: the directory's name is not a whole number, or the directory holds something.
    """
    directory = _checked(directory)
    _write(build_tagger(tagger, {**_versions(), **(facts or {})}), directory, tagger.image_size)
    return directory


def _checked(directory: str | os.PathLike[str]) -> Path:
    directory = Path(directory)
    if not (directory.name.isascii() and directory.name.isdigit()):
        raise InputError(
            f"directory must end in a version, a whole number as in 'serving/1', got {str(directory)!r}: add the "
            "number."
        )
    if directory.exists() and not (directory.is_dir() and not any(directory.iterdir())):
        raise InputError(
            f"directory must not hold anything yet, got {str(directory)!r}, which does: export to the next version."
        )
    return directory


def _write(traced: Traced, directory: Path, image_size: int) -> None:
    options = tf.saved_model.SaveOptions(namespace_whitelist=traced.namespaces)
    with atomic_directory(directory) as temporary:
        signatures = {name: _to_save(signature) for name, signature in traced.signatures.items()}
        tf.saved_model.save(traced.module, str(temporary), signatures=signatures, options=options)
        if "labels" in traced.facts:
            labels = "".join(f"{label}\n" for label in traced.facts["labels"])
            (temporary / "assets" / "labels.txt").write_text(labels, encoding="utf-8")
        write_json(temporary / "assets" / "ctxvision.json", traced.facts)
        write_warmup(temporary / "assets.extra" / "tf_serving_warmup_requests", traced.signatures, image_size)


def _to_save(signature: tf.types.experimental.GenericFunction) -> Any:
    """Returns a traced function, so that TensorFlow does not trace it again, except for optional inputs."""
    optional = any(parameter.optional for parameter in signature.function_type.parameters.values())
    return signature if optional else signature.get_concrete_function()


def _versions() -> dict[str, Any]:
    python = ".".join(map(str, sys.version_info[:3]))
    packages = {name: metadata.version(name) for name in ("tensorflow", "tf_keras", "tensorflow-text")}
    return {"versions": {"ctxvision": ctxvision.__version__, "python": python, **packages}}
