"""A classifier written as a SavedModel that TensorFlow Serving runs."""

import os
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import tensorflow as tf

import ctxvision
from ctxvision._files import atomic_directory, write_json
from ctxvision.errors import InputError
from ctxvision.models.context_classifier import ContextClassifier
from ctxvision.serving.signatures import build_signatures


def export_saved_model(
    model: ContextClassifier, directory: str | os.PathLike[str], retrieval: str | None = None
) -> Path:
    """Writes a classifier with its labels and vocabulary into one SavedModel, whole or not at all.

    Args:
        model: a built `ContextClassifier`.
        directory: of the version, `MODEL/<number>`: the layout of TF Serving. Not there yet, or empty.
        retrieval: the backend that the model must have, `"ivf"`, `"exact"` or `"scann"`; any by default.

    Returns:
        The directory. Beside the SavedModel it holds `assets.extra/ctxvision.json` (labels, thresholds, signatures,
        whether ScaNN's ops are needed, versions) and `assets.extra/tf_serving_warmup_requests`. For the signatures see
        `build_signatures`.

    Raises:
        InputError: the directory is not named by a whole number, or holds something already, or the model
            retrieves by another backend.

    Example:
        >>> cv.export_saved_model(run.classifier, "serving/1")
    """
    directory = Path(directory)
    if not (directory.name.isascii() and directory.name.isdigit()):
        raise InputError(
            f"directory must end in a version, a whole number as in 'serving/1', got {str(directory)!r}: add the number."
        )
    if directory.exists() and not (directory.is_dir() and not any(directory.iterdir())):
        raise InputError(
            f"directory must not hold anything yet, got {str(directory)!r}, which does: export to the next version."
        )
    if retrieval not in (None, model.retrieval.backend):
        raise InputError(
            f"retrieval must be the model's backend {model.retrieval.backend!r}, got {retrieval!r}: build the classifier "
            f"with PrototypeRetrieval(backend={retrieval!r})."
        )
    module, signatures = build_signatures(model)
    namespaces = _custom_namespaces(signatures.values())
    options = tf.saved_model.SaveOptions(namespace_whitelist=namespaces)
    with atomic_directory(directory) as temporary:
        tf.saved_model.save(module, str(temporary), signatures=signatures, options=options)
        extra = temporary / "assets.extra"
        write_json(extra / "ctxvision.json", _description(model, list(signatures), namespaces))
        _write_warmup(extra / "tf_serving_warmup_requests", model.image_size)
    return directory


def _custom_namespaces(signatures: Iterable[tf.types.experimental.GenericFunction]) -> list[str]:
    """Namespaces of the ops that a bare TensorFlow does not know, such as `Scann` of `Scann>...`."""
    ops: set[str] = set()
    for signature in signatures:
        graph = signature.get_concrete_function().graph.as_graph_def()
        ops.update(node.op for node in graph.node)
        ops.update(node.op for function in graph.library.function for node in function.node_def)
    return sorted({op.partition(">")[0] for op in ops if ">" in op})


def _description(model: ContextClassifier, signatures: list[str], namespaces: list[str]) -> dict[str, object]:
    return {
        "labels": model.labels,
        "thresholds": model.thresholds,
        "image_size": model.image_size,
        "retrieval": model.retrieval.backend,
        "needs_scann": "Scann" in namespaces,
        "signatures": signatures,
        "versions": {
            "ctxvision": ctxvision.__version__,
            "tensorflow": tf.__version__,
            "tf_keras": metadata.version("tf_keras"),
            "python": ".".join(map(str, sys.version_info[:3])),
        },
    }


def _write_warmup(path: Path, image_size: int) -> None:
    """One request that TF Serving answers before it calls the version available."""
    from tensorflow_serving.apis import prediction_log_pb2

    picture = tf.io.encode_jpeg(tf.fill([image_size, image_size, 3], tf.constant(128, tf.uint8))).numpy()
    log = prediction_log_pb2.PredictionLog()
    request = log.predict_log.request
    request.model_spec.signature_name = "serving_default"
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([picture], tf.string, shape=[1]))
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(log.SerializeToString())
