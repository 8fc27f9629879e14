"""Answers a PredictRequest with a loaded export and TF Serving's error codes, for gRPC, REST and the warm-up."""

import math
import re
from collections.abc import Iterable
from typing import Any

import grpc
import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import model_pb2, predict_pb2

from ctxvision.serving.loading import LoadedExport

MESSAGE_BYTES = 64 * 2**20
DEFAULT_SIGNATURE = "serving_default"

_CODES = {code.value[0]: code for code in grpc.StatusCode}


class RequestError(Exception):
    """Refuses a request with `code` and the message."""

    def __init__(self, code: grpc.StatusCode, message: str):
        super().__init__(message)
        self.code = code


def predict_with(export: LoadedExport, request: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
    """Runs the signature that a request names on the request's tensors.

    Args:
        export: the export that answers.
        request: the request; its model name and version are not checked.

    Returns:
        The outputs in the request's filter, by default all outputs of the signature.

    Raises:
        RequestError: FAILED_PRECONDITION for an unknown signature; INVALID_ARGUMENT for inputs that the signature does
            not take, or outputs that it does not give.
        tf.errors.OpError: the model refuses the inputs.
    """
    name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    if name not in export.signatures:
        raise RequestError(
            grpc.StatusCode.FAILED_PRECONDITION,
            f"Serving signature name: {name!r} not found in signature def, "
            f"which has {', '.join(sorted(export.signatures))}.",
        )
    signature = export.signatures[name]
    wanted = _wanted_outputs(request.output_filter, signature.structured_outputs)
    given = {**export.signature_defs[name].defaults, **request.inputs}
    outputs = signature(**_inputs(given, signature.structured_input_signature[1]))
    response = predict_pb2.PredictResponse()
    set_spec(response.model_spec, request.model_spec.name, export.version, name)
    for key in wanted:
        response.outputs[key].CopyFrom(tf.make_tensor_proto(outputs[key].numpy()))
    return response


def set_spec(spec: model_pb2.ModelSpec, name: str, version: int, signature: str = "") -> None:
    """Fills in the model that answers."""
    spec.name = name
    spec.version.value = version
    spec.signature_name = signature


def as_request_error(error: Exception) -> RequestError:
    """Turns the exception of a request into a code and a sentence."""
    if isinstance(error, RequestError):
        return error
    if isinstance(error, tf.errors.OpError):
        # TensorFlow's codes equal gRPC's.
        return RequestError(_CODES.get(error.error_code, grpc.StatusCode.INTERNAL), _sentence(error.message))
    return RequestError(
        grpc.StatusCode.INTERNAL, f"The model failed on this request ({type(error).__name__}: {error})."
    )


def _sentence(message: str) -> str:
    """Returns TensorFlow's message without graph locations; an assertion becomes a plain sentence."""
    lines = [line for line in message.splitlines() if not line.lstrip().startswith("[[{{node")]
    reason = "\n".join(lines).rpartition("<stack traces unavailable>")[2].strip()
    asserted = re.fullmatch(r"assertion failed: \[(.*)\] \[(.*)\]", reason)
    return f"{asserted[1]} {asserted[2]}: correct it.".replace("\\'", "'") if asserted else reason


def _wanted_outputs(output_filter: Iterable[str], outputs: dict[str, tf.TensorSpec]) -> list[str]:
    wanted = list(output_filter) or list(outputs)
    for position, key in enumerate(wanted):
        if key not in outputs:
            problem = f"output tensor alias not found in signature: {key}"
        elif key in wanted[:position]:
            problem = f"duplicate output tensor alias: {key}"
        else:
            continue
        raise RequestError(
            grpc.StatusCode.INVALID_ARGUMENT,
            f"{problem}; output_filter takes each of {', '.join(sorted(outputs))} once.",
        )
    return wanted


def _inputs(given: dict[str, Any], specs: dict[str, tf.TensorSpec]) -> dict[str, tf.Tensor]:
    """Checks the request's tensors against the signature, and returns them."""
    if set(given) != set(specs):
        raise RequestError(
            grpc.StatusCode.INVALID_ARGUMENT,
            f"input size does not match signature: it takes {{{','.join(sorted(specs))}}}. "
            f"Sent extra: {{{','.join(sorted(set(given) - set(specs)))}}}. "
            f"Missing but required: {{{','.join(sorted(set(specs) - set(given)))}}}.",
        )
    return {name: _tensor(name, given[name], spec) for name, spec in specs.items()}


def _tensor(name: str, proto: Any, spec: tf.TensorSpec) -> tf.Tensor:
    shape = [dimension.size for dimension in proto.tensor_shape.dim]
    known = proto.dtype in types_pb2.DataType.values()
    dtype = types_pb2.DataType.Name(proto.dtype) if known else f"dtype {proto.dtype}"
    expected = f"{name} must be {types_pb2.DataType.Name(spec.dtype.as_datatype_enum)} {_shown(spec.shape)}"
    if proto.dtype != spec.dtype.as_datatype_enum or not spec.shape.is_compatible_with(shape):
        raise RequestError(
            grpc.StatusCode.INVALID_ARGUMENT, f"{expected}, got {dtype} {shape}: send that type and shape."
        )
    # A tensor may repeat its last value, so a few bytes can claim a shape of terabytes.
    if math.prod(shape) * max(spec.dtype.size, 1) > MESSAGE_BYTES:
        raise RequestError(
            grpc.StatusCode.INVALID_ARGUMENT,
            f"{expected} of at most {MESSAGE_BYTES} bytes, got {shape}: send fewer pictures at a time.",
        )
    try:
        array = tf.make_ndarray(proto)
    except (ValueError, TypeError) as error:
        raise RequestError(
            grpc.StatusCode.INVALID_ARGUMENT,
            f"{expected}, got a tensor that cannot be read ({error}): encode the tensor again.",
        ) from error
    return tf.constant(array, spec.dtype)


def _shown(shape: tf.TensorShape) -> str:
    return f"[{', '.join('any' if size is None else str(size) for size in shape)}]"
