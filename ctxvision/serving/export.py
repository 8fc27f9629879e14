"""A classifier written as a SavedModel that TensorFlow Serving runs."""

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
    """Writes a classifier with its labels and vocabulary into one SavedModel, whole or not at all.

    Args:
        model: a built `ContextClassifier`.
        directory: of the version, `MODEL/<number>`: the layout of TF Serving. Not there yet, or empty.
        retrieval: the backend that the model must have, `"ivf"`, `"exact"` or `"scann"`; any by default.
        with_text: whether the text encoder goes along, for the caller's own words: it needs the ops of TF.Text, which
            a stock TF Serving has. By default the vocabulary's text embeddings alone do, and core ops are enough.
        facts: about the training, any JSON; the export tells them beside its own.

    Returns:
        The directory. Beside the SavedModel it holds `assets/labels.txt`, a label a line in the order of
        `probabilities`; `assets/ctxvision.json`, the same facts that the signature `about` tells (labels, thresholds,
        signatures, which op libraries are needed, versions, those given); and
        `assets.extra/tf_serving_warmup_requests`. For the signatures see `build_signatures`.

    Raises:
        InputError: the directory is not named by a whole number, or holds something already, or the model
            retrieves by another backend or has no text encoder to go along.

    Example:
        >>> cv.export_saved_model(run.classifier, "serving/1")
    """
    directory = _checked(directory)
    if retrieval not in (None, model.retrieval.backend):
        raise InputError(
            f"retrieval must be the model's backend {model.retrieval.backend!r}, got {retrieval!r}: build the classifier "
            f"with PrototypeRetrieval(backend={retrieval!r})."
        )
    if with_text and model.text is None:
        raise InputError(
            "with_text must be left out for a model that has no dual_encoder_text, such as one from two towers, got True: "
            "callers embed their words themselves, for the signature zero_shot."
        )
    traced = build_signatures(model, with_text, {**_versions(), **(facts or {})})
    _write(traced, directory, model.image_size)
    return directory


def export_tagger(
    tagger: ContextTagger, directory: str | os.PathLike[str], facts: Mapping[str, Any] | None = None
) -> Path:
    """Writes a tagger with its vocabulary into one SavedModel of core ops, whole or not at all.

    Args:
        tagger: of a context.
        directory: of the version, as of `export_saved_model`.
        facts: about the context, any JSON.

    Returns:
        The directory; for the signatures see `build_tagger`.

    Raises:
        InputError: the directory is not named by a whole number, or holds something already.
    """
    directory = _checked(directory)
    _write(build_tagger(tagger, {**_versions(), **(facts or {})}), directory, tagger.image_size)
    return directory


def _checked(directory: str | os.PathLike[str]) -> Path:
    directory = Path(directory)
    if not (directory.name.isascii() and directory.name.isdigit()):
        raise InputError(
            f"directory must end in a version, a whole number as in 'serving/1', got {str(directory)!r}: add the number."
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
    """As it was traced: TensorFlow would trace a function anew, which it needs for the values of optional inputs alone."""
    optional = any(parameter.optional for parameter in signature.function_type.parameters.values())
    return signature if optional else signature.get_concrete_function()


def _versions() -> dict[str, Any]:
    python = ".".join(map(str, sys.version_info[:3]))
    packages = {name: metadata.version(name) for name in ("tensorflow", "tf_keras", "tensorflow-text")}
    return {"versions": {"ctxvision": ctxvision.__version__, "python": python, **packages}}
