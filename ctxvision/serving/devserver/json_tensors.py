"""Converts TF Serving's JSON for predict, in rows or columns, to tensors and back."""

import base64
import json
import math
from collections.abc import Mapping
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.meta_graph_pb2 import TensorInfo
from tensorflow_serving.apis import predict_pb2

from ctxvision.serving.devserver.prediction import RequestError

_MOST_DIMENSIONS = 32  # the limit of the oldest supported NumPy
_SHOWN_CHARACTERS = 80


def parse_json(body: bytes) -> dict[str, Any]:
    """Parses a request's JSON object; NaN, Infinity and -Infinity are numbers, as in TF Serving.

    Raises:
        RequestError: INVALID_ARGUMENT, if the body is not a JSON object.
    """
    try:
        document = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise _invalid(f"JSON Parse error: {error}: send one object in UTF-8.") from error
    if not isinstance(document, dict):
        raise _invalid(
            f"JSON Value: {_shown(document)} Is not object: send one with 'instances' or 'inputs'."
        )
    if not isinstance(document.get("signature_name", ""), str):
        raise _invalid(
            f"JSON Value: {_shown(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    return document


def fill_inputs(
    request: predict_pb2.PredictRequest, document: dict[str, Any], inputs: Mapping[str, TensorInfo]
) -> bool:
    """Fills a request's inputs from a parsed body.

    Args:
        request: the request, which gets one tensor for each of `inputs`.
        document: the body with `instances`, a list of values or of objects with one value per input, or with `inputs`,
            one tensor or an object of tensors. A value may be nested lists; `{"b64": ...}` stands for bytes.
        inputs: the inputs of the signature.

    Returns:
        Whether the request is in rows (`instances`).

    Raises:
        RequestError: INVALID_ARGUMENT, if the JSON does not fit the inputs.
    """
    rows = "instances" in document
    if rows == ("inputs" in document):
        problem = "expecting only one of" if rows else "Missing"
        raise _invalid(f"{problem} 'inputs' or 'instances' key: send one of the two.")
    try:
        values = (
            _columns(document["instances"], sorted(inputs))
            if rows
            else _named(document["inputs"], sorted(inputs))
        )
        for name, value in values.items():
            request.inputs[name].CopyFrom(_tensor(name, value, tf.as_dtype(inputs[name].dtype)))
    except RecursionError as error:
        raise _invalid("JSON Value: lists are nested too deeply: send the tensor's own shape.") from error
    return rows


def answer_json(response: predict_pb2.PredictResponse, rows: bool) -> dict[str, Any]:
    """Returns a response as TF Serving writes it: `predictions` by row or `outputs` by column; one output has no name.

    Strings of outputs whose names end in `_bytes` become `{"b64": ...}`; floats have the digits of float32.

    Raises:
        RequestError: INVALID_ARGUMENT, if rows are requested and outputs have no rows or different numbers of rows.
    """
    outputs = {name: tf.make_ndarray(tensor) for name, tensor in sorted(response.outputs.items())}
    if rows:
        sizes = {name: array.shape[0] if array.ndim else None for name, array in outputs.items()}
        if None in sizes.values() or len(set(sizes.values())) != 1:
            raise _invalid(
                f"outputs must have the same batch size for 'instances', got {sizes}: send 'inputs'."
            )
    columns = {name: _values(array, name.endswith("_bytes")) for name, array in outputs.items()}
    if len(columns) == 1:
        (column,) = columns.values()
        return {"predictions" if rows else "outputs": column}
    if not rows:
        return {"outputs": columns}
    return {"predictions": [dict(zip(columns, row)) for row in zip(*columns.values())]}


def _columns(instances: Any, names: list[str]) -> dict[str, Any]:
    """Turns `instances` into columns: for each input the list of its values."""
    if not isinstance(instances, list) or not instances:
        raise _invalid(
            f"JSON Value: {_shown(instances)} Excepting 'instances' to be an list/array with at least one value."
        )
    objects = [_is_object(instance) for instance in instances]
    if not any(objects):
        if len(names) > 1:
            raise _invalid(
                f"instances is a plain list, but expecting list of objects, as the signature has the inputs {names}."
            )
        return {names[0]: instances}
    for place, instance in enumerate(instances):
        if not objects[place]:
            raise _invalid(f"Expecting object but got {_shown(instance)} at item {place} of input list.")
        if sorted(instance) != names:
            raise _invalid(
                f"Failed to process element: {place} of 'instances' list. JSON object: keys must be equal to: "
                f"{','.join(names)}, got {','.join(sorted(instance))}."
            )
    return {name: [instance[name] for instance in instances] for name in names}


def _named(inputs: Any, names: list[str]) -> dict[str, Any]:
    if not _is_object(inputs):
        if len(names) > 1:
            raise _invalid(
                f"inputs is a plain value/list, but expecting an object, as the signature has the inputs {names}."
            )
        return {names[0]: inputs}
    for name in names:
        if name not in inputs:
            raise _invalid(f"Missing named input: {name} in 'inputs' object, got {','.join(sorted(inputs))}.")
    return {name: inputs[name] for name in names}


def _is_object(value: Any) -> bool:
    """Returns whether a value is an object, and not one that stands for bytes."""
    return isinstance(value, dict) and not (list(value) == ["b64"] and isinstance(value["b64"], str))


def _tensor(name: str, value: Any, dtype: tf.DType) -> Any:
    shape = []
    first = value
    while isinstance(first, list):
        shape.append(len(first))
        first = first[0] if first else None
    if len(shape) > _MOST_DIMENSIONS:
        raise _invalid(
            f"{name} must have at most {_MOST_DIMENSIONS} dimensions, got {len(shape)}: nest less deeply."
        )
    leaves: list[Any] = []
    _collect(name, value, shape, 0, dtype, leaves)
    return tf.make_tensor_proto(leaves, dtype, shape)


def _collect(name: str, value: Any, shape: list[int], level: int, dtype: tf.DType, leaves: list[Any]) -> None:
    """Appends the values of nested lists, whose lengths must equal those of the first lists."""
    if level == len(shape):
        leaves.append(_leaf(name, value, dtype))
        return
    if not isinstance(value, list):
        raise _invalid(
            f"{name}: {_shown(value)} found at incorrect level: {level} in the JSON, expected a list."
        )
    if len(value) != shape[level]:
        raise _invalid(
            f"{name}: Encountered list at unexpected size: {len(value)} at level: {level} expected size: "
            f"{shape[level]}."
        )
    for item in value:
        _collect(name, item, shape, level + 1, dtype, leaves)


def _leaf(name: str, value: Any, dtype: tf.DType) -> Any:
    if dtype == tf.string and isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if dtype == tf.string and isinstance(value, dict) and not _is_object(value):
        return _decoded(name, value["b64"])
    if dtype == tf.bool and isinstance(value, bool):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        if dtype.is_floating and not _fits(value, dtype):
            raise _invalid(
                f"{name}: Cannot convert JSON value: {_shown(value)} to {dtype.name} without loss of precision."
            )
        if dtype.is_floating or (
            dtype.is_integer and isinstance(value, int) and dtype.min <= value <= dtype.max
        ):
            return value
    raise _invalid(f"{name}: JSON Value: {_shown(value)} is not of expected type: {dtype.name}.")


def _fits(value: int | float, dtype: tf.DType) -> bool:
    if isinstance(value, int):
        return abs(value) < 2 ** (np.finfo(dtype.as_numpy_dtype).nmant + 1)
    return not math.isfinite(value) or abs(value) <= float(dtype.max)


def _decoded(name: str, text: str) -> bytes:
    """Decodes base64 with or without padding and with line breaks, as the tool `base64` writes it."""
    plain = "".join(text.split()).rstrip("=")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except ValueError as error:
        raise _invalid(f"{name}: Unable to base64 decode ({error}): send the bytes in base64.") from error


def _values(array: np.ndarray, as_bytes: bool) -> Any:
    """Returns nested lists of values that `json.dumps` writes."""
    if array.dtype == object:
        written = [_written(value, as_bytes) for value in array.ravel()]
        return np.array(written, dtype=object).reshape(array.shape).tolist()
    if array.dtype in (np.float16, np.float32):
        # Converts through the shortest decimal: 0.2 stays 0.2, where float() would give 0.20000000298.
        array = array.astype(str).astype(np.float64)
    return array.tolist()


def _written(value: bytes, as_bytes: bool) -> Any:
    return {"b64": base64.b64encode(value).decode()} if as_bytes else value.decode("utf-8", "replace")


def _shown(value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return "lists in lists"
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."


def _invalid(message: str) -> RequestError:
    return RequestError(grpc.StatusCode.INVALID_ARGUMENT, message)
