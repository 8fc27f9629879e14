"""Sends encoded pictures to an export on disk or to a server."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from ctxvision.errors import InputError
from ctxvision.serving.devserver.prediction import MESSAGE_BYTES
from ctxvision.serving.loading import LoadedExport, find_version, load_export

# Limits of one request.
MOST_PICTURES, MOST_BYTES = 32, MESSAGE_BYTES // 2
_TIMEOUT_SECONDS = 60
# Environment variables from which gRPC reads a proxy, in gRPC's order.
_PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")

# The export that was asked last, by its folder and the sizes and times of its files.
_loaded: dict[tuple[Path, tuple[tuple[int, int], ...]], LoadedExport] = {}

Answer = dict[str, np.ndarray]
Ask = Callable[[list[bytes]], Answer]


class ServingError(RuntimeError):
    """Raised if a server does not answer, or does not answer like an export of ctxvision."""


def asker(target: str | os.PathLike[str], signature: str, name: str = "default") -> Ask:
    """Returns a function from encoded pictures to the outputs of a signature.

    Args:
        target: folder of an export (DIR or DIR/<version>), or HOST:PORT of a server with TF Serving's gRPC API.
        signature: "serving_default" or "explain".
        name: name of the model on the server.

    Raises:
        InputError: the target is neither a folder nor an address, or no classifier; for a server without labels, the
            returned function raises it.
        ServingError: the returned function raises it if the server cannot be reached or refuses.
    """
    ask = _remote(str(target), signature, name) if _is_address(target) else _local(target, signature)

    def checked(images: list[bytes]) -> Answer:
        answer = ask(images)
        if "labels" not in answer:
            raise InputError(
                f"target must be a classifier, got {str(target)!r}, which tells no labels: for the phrases of a "
                "context's tagger, run ctxvision context describe CONTEXT IMAGE."
            )
        return answer

    return checked


def _is_address(target: str | os.PathLike[str]) -> bool:
    """Returns whether `target` is HOST:PORT rather than a folder; raises an InputError if it is neither."""
    if Path(target).is_dir():
        return False
    match = re.fullmatch(r"(?:[\w.-]+|\[[0-9a-fA-F:]+\]):(\d{1,5})", str(target), re.ASCII)
    if match and 0 < int(match[1]) <= 65535:
        return True
    raise InputError(
        f"target must be the folder of an export or HOST:PORT of a server, got {str(target)!r}: check the target."
    )


def _local(directory: str | os.PathLike[str], signature: str) -> Callable[[list[bytes]], Answer]:
    export = _last_loaded(find_version(directory))
    function = export.signatures.get(signature)
    if function is None or list(function.structured_input_signature[1]) != ["image_bytes"]:
        raise InputError(
            f"target must be an export of ctxvision with the signature {signature!r} of image_bytes, got "
            f"{str(directory)!r}, which has {sorted(export.signatures)}: export again."
        )
    # The closure keeps `export` alive, and with it the variables.
    return lambda images: {
        key: value.numpy()
        for key, value in export.signatures[signature](image_bytes=tf.constant(images)).items()
    }


def _last_loaded(version: Path) -> LoadedExport:
    """Loads an export and keeps it until another one is asked, because loading takes longer than most answers."""
    files = [path.stat() for path in sorted(version.rglob("*")) if path.is_file()]
    key = version.absolute(), tuple((file.st_size, file.st_mtime_ns) for file in files)
    if key not in _loaded:
        _loaded.clear()  # first, so that two are never in memory
        _loaded[key] = load_export(version)
    return _loaded[key]


def _no_answer(address: str, details: str) -> str:
    """Returns the sentence for an address at which no gRPC server answers."""
    if "Failed parsing HTTP/2" in details or "http1" in details.lower():
        return (
            f"the server at {address} must speak gRPC, it speaks HTTP, as the REST port does: give its gRPC port "
            "(8500)."
        )
    proxy = next((os.environ[name] for name in _PROXIES if os.environ.get(name)), None)
    through = f" through the proxy {proxy} that the environment names" if proxy else ""
    return f"no server answers at {address}{through}: start one with 'ctxvision serve DIR', or check the address."


def _remote(address: str, signature: str, name: str) -> Callable[[list[bytes]], Answer]:
    options = [
        ("grpc.max_receive_message_length", MESSAGE_BYTES),
        ("grpc.max_send_message_length", MESSAGE_BYTES),
    ]
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost" or host.startswith("127.") or host == "::1":
        options.append(
            ("grpc.enable_http_proxy", 0)
        )  # gRPC would send requests to this machine through the proxy
    stub = prediction_service_pb2_grpc.PredictionServiceStub(grpc.insecure_channel(address, options))

    def ask(images: list[bytes]) -> Answer:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = name
        request.model_spec.signature_name = signature
        request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(images, tf.string))
        try:
            response = stub.Predict(request, timeout=_TIMEOUT_SECONDS)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAVAILABLE:
                raise ServingError(_no_answer(address, error.details() or "")) from error
            raise ServingError(
                f"the server at {address} refused ({error.code().name}): {error.details()}"
            ) from error
        return {key: tf.make_ndarray(value) for key, value in response.outputs.items()}

    return ask
