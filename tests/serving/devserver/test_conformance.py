"""TF Serving's documented requests and errors, case by case: gRPC's codes, REST's statuses and shapes.

Sentences are this server's own, except where a case uses the words of TF Serving, which clients may search for.
"""

import base64
import gzip
import http.client
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from ctxvision.serving import Server
from ctxvision.serving.devserver.prediction import MESSAGE_BYTES
from tests.serving.conftest import LABELS, encode

Code = grpc.StatusCode
PICTURE = encode(np.random.default_rng(5).integers(0, 256, (20, 20, 3), np.uint8))
B64 = {"b64": base64.b64encode(PICTURE).decode()}
URL = "/v1/models/default"
ANSWER = {"probabilities", "labels", "scores", "phrases", "phrase_scores", "valid"}


@pytest.fixture(scope="module")
def server(export_directory):
    with Server(export_directory, port=0, rest_port=0) as running:
        yield running


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(f"localhost:{server.port}", [("grpc.max_send_message_length", -1)]) as channel:
        yield channel


# --- gRPC ---


def predict(inputs=None, outputs=(), **spec):
    made = predict_pb2.PredictRequest(output_filter=outputs)
    inputs = {"image_bytes": [PICTURE]} if inputs is None else inputs
    for key, value in inputs.items():
        made.inputs[key].CopyFrom(value if isinstance(value, TensorProto) else tf.make_tensor_proto(value))
    return with_spec(made, **spec)


def with_spec(made, name="default", version=None, label=None, signature=""):
    made.model_spec.name = name
    made.model_spec.signature_name = signature
    if version is not None:
        made.model_spec.version.value = version
    if label is not None:
        made.model_spec.version_label = label
    return made


def metadata(fields=("signature_def",), **spec):
    return with_spec(get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields), **spec)


def status(**spec):
    return with_spec(get_model_status_pb2.GetModelStatusRequest(), **spec)


def typed(value, **fields):
    made = tf.make_tensor_proto(value)
    for key, field in fields.items():
        setattr(made, key, field)
    return made


class Rpc(NamedTuple):
    method: str
    request: Any
    code: grpc.StatusCode | None = None
    words: str = ""
    holds: Callable[[Any], bool] = lambda response: True


def arrays(response):
    return {key: tf.make_ndarray(value) for key, value in response.outputs.items()}


RPCS = {
    "predict": Rpc("Predict", predict(), holds=lambda r: set(r.outputs) == ANSWER),
    "predict says which version answered": Rpc(
        "Predict",
        predict(),
        holds=lambda r: (r.model_spec.name, r.model_spec.version.value) == ("default", 2),
    ),
    "predict says which signature answered": Rpc(
        "Predict", predict(), holds=lambda r: r.model_spec.signature_name == "serving_default"
    ),
    "predict of a version": Rpc("Predict", predict(version=2), holds=lambda r: set(r.outputs) == ANSWER),
    "predict by another signature": Rpc(
        "Predict", predict(signature="explain"), holds=lambda r: "phrase_shares" in r.outputs
    ),
    "predict of some outputs": Rpc(
        "Predict",
        predict(outputs=["scores", "labels"]),
        holds=lambda r: set(r.outputs) == {"labels", "scores"},
    ),
    "predict with an input left to its default": Rpc(
        "Predict", predict(signature="embed"), holds=lambda r: arrays(r)["phrase_ids"].shape == (1, 3)
    ),
    "predict with that input given": Rpc(
        "Predict",
        predict({"image_bytes": [PICTURE], "k": np.int32(1)}, signature="embed"),
        holds=lambda r: (arrays(r)["phrase_ids"][0] >= 0).sum() == 1,
    ),
    "predict of an empty batch": Rpc(
        "Predict",
        predict({"image_bytes": typed(np.array([], object), dtype=7)}),
        holds=lambda r: arrays(r)["probabilities"].shape == (0, len(LABELS)),
    ),
    "predict of no picture": Rpc(
        "Predict",
        predict({"image_bytes": [b"none", PICTURE]}),
        holds=lambda r: arrays(r)["valid"].tolist() == [False, True],
    ),
    "no model": Rpc("Predict", predict_pb2.PredictRequest(), Code.INVALID_ARGUMENT, "Missing ModelSpec"),
    "no name": Rpc("Predict", predict(name=""), Code.INVALID_ARGUMENT, "ModelSpec has no name specified"),
    "unknown model": Rpc(
        "Predict",
        predict(name="other"),
        Code.NOT_FOUND,
        "Servable not found for request: Latest(other); this server has model 'default'.",
    ),
    "unknown model and version": Rpc(
        "Predict",
        predict(name="other", version=2),
        Code.NOT_FOUND,
        "Servable not found for request: Specific(other, 2)",
    ),
    "unknown version": Rpc(
        "Predict", predict(version=3), Code.NOT_FOUND, "Servable not found for request: Specific(default, 3)"
    ),
    "unknown label": Rpc(
        "Predict",
        predict(label="canary"),
        Code.INVALID_ARGUMENT,
        "Unrecognized servable version label: 'canary'",
    ),
    "unknown signature": Rpc(
        "Predict",
        predict(signature="none"),
        Code.FAILED_PRECONDITION,
        "Serving signature name: 'none' not found in signature def, "
        "which has about, embed, explain, pixels, pixels_float32, serving_default, zero_shot.",
    ),
    "missing input": Rpc(
        "Predict",
        predict({}),
        Code.INVALID_ARGUMENT,
        "it takes {image_bytes}. Sent extra: {}. Missing but required: {image_bytes}.",
    ),
    "extra input": Rpc(
        "Predict",
        predict({"image_bytes": [PICTURE], "more": [1]}),
        Code.INVALID_ARGUMENT,
        "input size does not match signature",
    ),
    "extra input by its name": Rpc(
        "Predict",
        predict({"image_bytes": [PICTURE], "k": 3}),
        Code.INVALID_ARGUMENT,
        "it takes {image_bytes}. Sent extra: {k}. Missing but required: {}.",
    ),
    "input by another name": Rpc(
        "Predict", predict({"images": [PICTURE]}), Code.INVALID_ARGUMENT, "Sent extra: {images}"
    ),
    "wrong dtype": Rpc(
        "Predict",
        predict({"image_bytes": [1.5]}),
        Code.INVALID_ARGUMENT,
        "image_bytes must be DT_STRING [any], got DT_FLOAT [1]: send that type and shape.",
    ),
    "unknown dtype": Rpc(
        "Predict", predict({"image_bytes": typed([b""], dtype=77)}), Code.INVALID_ARGUMENT, "got dtype 77 [1]"
    ),
    "wrong rank": Rpc("Predict", predict({"image_bytes": [[PICTURE]]}), Code.INVALID_ARGUMENT, "[any]"),
    "a scalar": Rpc(
        "Predict",
        predict({"image_bytes": PICTURE}),
        Code.INVALID_ARGUMENT,
        "image_bytes must be DT_STRING [any], got DT_STRING []",
    ),
    "wrong channels": Rpc(
        "Predict",
        predict({"pixels": np.zeros((1, 8, 8, 4), np.uint8)}, signature="pixels"),
        Code.INVALID_ARGUMENT,
        "pixels must be DT_UINT8 [any, any, any, 3], got DT_UINT8 [1, 8, 8, 4]",
    ),
    "no pixels": Rpc(
        "Predict",
        predict({"pixels": np.zeros((1, 0, 0, 3), np.uint8)}, signature="pixels"),
        Code.INVALID_ARGUMENT,
        "input image must be of non-zero size",
    ),
    "unknown output": Rpc(
        "Predict",
        predict(outputs=["logits"]),
        Code.INVALID_ARGUMENT,
        "output tensor alias not found in signature: logits; output_filter takes each of labels, ",
    ),
    "output twice": Rpc(
        "Predict",
        predict(outputs=["valid", "valid"]),
        Code.INVALID_ARGUMENT,
        "duplicate output tensor alias: valid",
    ),
    "too large a message": Rpc(
        "Predict", predict({"image_bytes": [bytes(65 * 2**20)]}), Code.RESOURCE_EXHAUSTED, "larger than max"
    ),
    "classify": Rpc(
        "Classify",
        classification_pb2.ClassificationRequest(),
        Code.UNIMPLEMENTED,
        "Classify takes tf.Example and this model takes pictures: call Predict with image_bytes.",
    ),
    "regress": Rpc(
        "Regress", regression_pb2.RegressionRequest(), Code.UNIMPLEMENTED, "Regress takes tf.Example"
    ),
    "multi-inference": Rpc(
        "MultiInference",
        inference_pb2.MultiInferenceRequest(),
        Code.UNIMPLEMENTED,
        "MultiInference takes tf.Example",
    ),
    "metadata": Rpc("GetModelMetadata", metadata(), holds=lambda r: list(r.metadata) == ["signature_def"]),
    "metadata says which version answered": Rpc(
        "GetModelMetadata", metadata(), holds=lambda r: r.model_spec.version.value == 2
    ),
    "metadata without a field": Rpc(
        "GetModelMetadata", metadata([]), Code.INVALID_ARGUMENT, "must specify at least one metadata_field"
    ),
    "metadata of an unknown field": Rpc(
        "GetModelMetadata",
        metadata(["assets"]),
        Code.INVALID_ARGUMENT,
        "Metadata field assets is not supported: ask for 'signature_def'.",
    ),
    "metadata of an unknown model": Rpc(
        "GetModelMetadata", metadata(name="other"), Code.NOT_FOUND, "Latest(other)"
    ),
    "status": Rpc(
        "GetModelStatus",
        status(),
        holds=lambda r: (
            [(s.version, s.state, s.status.error_code) for s in r.model_version_status] == [(2, 30, 0)]
        ),
    ),
    "status of a version": Rpc(
        "GetModelStatus", status(version=2), holds=lambda r: r.model_version_status[0].version == 2
    ),
    "status of an unknown model": Rpc(
        "GetModelStatus", status(name="other"), Code.NOT_FOUND, "Could not find any versions of model other"
    ),
    "status of an unknown version": Rpc(
        "GetModelStatus",
        status(version=7),
        Code.NOT_FOUND,
        "Could not find version 7 of model default; this server has seen [2].",
    ),
    "status of no model": Rpc(
        "GetModelStatus",
        get_model_status_pb2.GetModelStatusRequest(),
        Code.INVALID_ARGUMENT,
        "Missing ModelSpec",
    ),
    "reload of the configuration": Rpc(
        "HandleReloadConfigRequest",
        model_management_pb2.ReloadConfigRequest(),
        Code.UNIMPLEMENTED,
        "restart this server",
    ),
}


@pytest.mark.parametrize("case", RPCS)
def test_grpc(channel, case):
    method, request, code, words, holds = RPCS[case]
    services = (prediction_service_pb2_grpc.PredictionServiceStub, model_service_pb2_grpc.ModelServiceStub)
    (call,) = [getattr(stub(channel), method) for stub in services if hasattr(stub(channel), method)]
    if code is None:
        assert holds(call(request, timeout=60))
        return
    with pytest.raises(grpc.RpcError) as error:
        call(request, timeout=60)
    assert error.value.code() == code, error.value.details()
    assert words in error.value.details()
    predictions = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    assert predictions.Predict(predict(), timeout=60).outputs, "the server lives on"


# --- REST ---


class Http(NamedTuple):
    method: str
    path: str
    body: Any
    status: int
    holds: Callable[[Any], bool] | str  # checks the JSON; a text must occur in its `error`


def rows(*instances, **more):
    return {"instances": list(instances), **more}


def columns(inputs, **more):
    return {"inputs": inputs, **more}


PIXELS = np.full((1, 4, 4, 3), 7).tolist()
EMBED = {
    "k": 2,
    "min_score": -2,
    "allow_languages": [],
    "deny_languages": ["en"],
    "allow_flags": [],
    "deny_flags": [],
    "deny_ids": [],
}
VERB = f"{URL}:predict"

REQUESTS = {
    "a plain instance": Http("POST", VERB, rows(B64), 200, lambda j: set(j["predictions"][0]) == ANSWER),
    "two instances": Http("POST", VERB, rows(B64, B64), 200, lambda j: len(j["predictions"]) == 2),
    "an instance by name": Http(
        "POST", VERB, rows({"image_bytes": B64}), 200, lambda j: j["predictions"][0]["valid"]
    ),
    "labels are text": Http(
        "POST", VERB, rows(B64), 200, lambda j: set(j["predictions"][0]["labels"]) < set(LABELS)
    ),
    "a plain column": Http("POST", VERB, columns([B64]), 200, lambda j: set(j["outputs"]) == ANSWER),
    "a column by name": Http(
        "POST",
        VERB,
        columns({"image_bytes": [B64, B64]}),
        200,
        lambda j: j["outputs"]["valid"] == [True, True],
    ),
    "a column with one input too many": Http(
        "POST",
        VERB,
        columns({"image_bytes": [B64], "more": 1}),
        200,
        lambda j: j["outputs"]["valid"] == [True],
    ),
    "a version": Http(
        "POST", f"{URL}/versions/2:predict", rows(B64), 200, lambda j: j["predictions"][0]["valid"]
    ),
    "a path in capitals": Http(
        "POST", "/V1/Models/default:Predict", rows(B64), 200, lambda j: "predictions" in j
    ),
    "another signature": Http(
        "POST",
        VERB,
        rows(B64, signature_name="explain"),
        200,
        lambda j: "phrase_shares" in j["predictions"][0],
    ),
    "numbers": Http(
        "POST", VERB, columns(PIXELS, signature_name="pixels"), 200, lambda j: j["outputs"]["valid"] == [True]
    ),
    "several inputs": Http(
        "POST",
        VERB,
        columns({"image_bytes": [B64], **EMBED}, signature_name="embed"),
        200,
        lambda j: np.shape(j["outputs"]["query_embedding"]) == (1, 64),
    ),
    "a string that is no picture": Http(
        "POST",
        VERB,
        rows("none", B64),
        200,
        lambda j: [p["valid"] for p in j["predictions"]] == [False, True],
    ),
    "base64 without its padding": Http(
        "POST", VERB, rows({"b64": B64["b64"].rstrip("=")}), 200, lambda j: j["predictions"][0]["valid"]
    ),
    "base64 in lines": Http(
        "POST",
        VERB,
        rows({"b64": base64.encodebytes(PICTURE).decode().replace("\n", "\r\n")}),
        200,
        lambda j: j["predictions"][0]["valid"],
    ),
    "no body": Http("POST", VERB, b"", 400, "JSON Parse error"),
    "no JSON": Http("POST", VERB, b'{"instances": [', 400, "JSON Parse error"),
    "no UTF-8": Http("POST", VERB, b'{"instances": ["\xff"]}', 400, "JSON Parse error"),
    "no object": Http("POST", VERB, [1, 2], 400, "Is not object"),
    "neither rows nor columns": Http("POST", VERB, {}, 400, "Missing 'inputs' or 'instances' key"),
    "rows and columns": Http(
        "POST", VERB, {**rows(B64), **columns([B64])}, 400, "only one of 'inputs' or 'instances'"
    ),
    "no instance": Http("POST", VERB, rows(), 400, "'instances' to be an list/array"),
    "instances that are no list": Http(
        "POST", VERB, {"instances": B64}, 400, "'instances' to be an list/array"
    ),
    "objects and values": Http(
        "POST", VERB, rows({"image_bytes": B64}, B64), 400, "Expecting object but got"
    ),
    "an instance without an input": Http(
        "POST", VERB, rows({"image": B64}), 400, "keys must be equal to: image_bytes"
    ),
    "a plain instance for several inputs": Http(
        "POST", VERB, rows(B64, signature_name="embed"), 400, "expecting list of objects"
    ),
    "a plain column for several inputs": Http(
        "POST", VERB, columns([B64], signature_name="embed"), 400, "expecting an object"
    ),
    "a column without an input": Http(
        "POST",
        VERB,
        columns({"image_bytes": [B64]}, signature_name="embed"),
        400,
        "Missing named input: allow_flags",
    ),
    "a number for a string": Http("POST", VERB, rows(1), 400, "is not of expected type: string"),
    "null for a string": Http("POST", VERB, rows(None), 400, "is not of expected type: string"),
    "a fraction for an integer": Http(
        "POST",
        VERB,
        columns([[[[0.5, 1, 1]]]], signature_name="pixels"),
        400,
        "is not of expected type: uint8",
    ),
    "an integer out of range": Http(
        "POST",
        VERB,
        columns([[[[256, 1, 1]]]], signature_name="pixels"),
        400,
        "is not of expected type: uint8",
    ),
    "true for a number": Http(
        "POST",
        VERB,
        columns([[[[True, 1, 1]]]], signature_name="pixels"),
        400,
        "is not of expected type: uint8",
    ),
    "too large a number": Http(
        "POST",
        VERB,
        columns({"image_bytes": [B64], **EMBED, "min_score": 1e300}, signature_name="embed"),
        400,
        "Cannot convert JSON value: 1e+300 to float32 without loss of precision",
    ),
    "Infinity": Http(
        "POST",
        VERB,
        columns({"image_bytes": [B64], **EMBED, "min_score": float("inf")}, signature_name="embed"),
        200,
        lambda j: j["outputs"]["phrases"] == [["", ""]],
    ),
    "no base64": Http("POST", VERB, rows({"b64": "%%%"}), 400, "Unable to base64 decode"),
    "ragged lists": Http(
        "POST",
        VERB,
        columns([[[[1, 2, 3]], [[1, 2]]]], signature_name="pixels"),
        400,
        "Encountered list at unexpected size",
    ),
    "lists of unequal depth": Http(
        "POST", VERB, columns([[[[1, 2, 3]], [1]]], signature_name="pixels"), 400, "found at incorrect level"
    ),
    "a rank that the input has not": Http(
        "POST", VERB, rows([B64]), 400, "image_bytes must be DT_STRING [any]"
    ),
    "lists without end": Http(
        "POST", VERB, b'{"inputs":' + b"[" * 90_000 + b"]" * 90_000 + b"}", 400, "JSON Parse error"
    ),
    "lists of many dimensions": Http(
        "POST", VERB, b'{"inputs":' + b"[" * 90 + b"1" + b"]" * 90 + b"}", 400, "at most 32 dimensions"
    ),
    "a signature that is no text": Http(
        "POST", VERB, rows(B64, signature_name=1), 400, "must be a string value"
    ),
    "an unknown signature": Http(
        "POST", VERB, rows(B64, signature_name="none"), 400, '"none" not found in signature def'
    ),
    "an unknown model": Http(
        "POST", "/v1/models/other:predict", rows(B64), 404, "Servable not found for request: Latest(other)"
    ),
    "an unknown version": Http(
        "POST",
        f"{URL}/versions/3:predict",
        rows(B64),
        404,
        "Servable not found for request: Specific(default, 3)",
    ),
    "a version that is no number": Http(
        "POST", f"{URL}/versions/x:predict", rows(B64), 400, "Malformed request: POST"
    ),
    "a version beyond 64 bits": Http(
        "POST", f"{URL}/versions/{10**30}:predict", rows(B64), 400, "Failed to convert version"
    ),
    "a label": Http(
        "POST", f"{URL}/labels/canary:predict", rows(B64), 400, "Unrecognized servable version label"
    ),
    "classification": Http("POST", f"{URL}:classify", {"examples": []}, 501, "Classify takes tf.Example"),
    "regression": Http("POST", f"{URL}:regress", {"examples": []}, 501, "Regress takes tf.Example"),
    "an unknown verb": Http("POST", f"{URL}:guess", rows(B64), 400, "Malformed request: POST"),
    "no verb": Http("POST", URL, rows(B64), 400, "Malformed request: POST"),
    "predict by GET": Http("GET", VERB, None, 400, "Malformed request: GET"),
    "another method": Http("PUT", VERB, rows(B64), 400, "Malformed request: PUT"),
    "too large a body": Http("POST", VERB, bytes(65 * 2**20), 413, "at most 67108864 bytes, got 68157440"),
    "the status": Http(
        "GET",
        URL,
        None,
        200,
        lambda j: (
            j["model_version_status"]
            == [{"version": "2", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}]
        ),
    ),
    "the status of a version": Http(
        "GET", f"{URL}/versions/2", None, 200, lambda j: j["model_version_status"][0]["version"] == "2"
    ),
    "the status of an unknown version": Http(
        "GET", f"{URL}/versions/3", None, 404, "Could not find version 3"
    ),
    "the status of an unknown model": Http(
        "GET", "/v1/models/other", None, 404, "Could not find any versions of model other"
    ),
    "the status of no model": Http("GET", "/v1/models", None, 400, "Missing model name in request."),
    "the metadata": Http(
        "GET",
        f"{URL}/metadata",
        None,
        200,
        lambda j: (
            j["model_spec"] == {"name": "default", "version": "2", "signature_name": ""}
            and j["metadata"]["signature_def"]["signature_def"]["pixels"]["inputs"]["pixels"]["dtype"]
            == "DT_UINT8"
        ),
    ),
    "the metadata of a version": Http(
        "GET", f"{URL}/versions/2/metadata", None, 200, lambda j: j["model_spec"]["version"] == "2"
    ),
    "the metadata of an unknown model": Http("GET", "/v1/models/other/metadata", None, 404, "Latest(other)"),
    "a path of no API": Http("GET", "/v2/models/default", None, 404, "/v2/models/default is not here"),
    "the page by POST": Http("POST", "/", {}, 405, "must be asked for by GET"),
}


@pytest.mark.parametrize("case", REQUESTS)
def test_rest(server, case):
    method, path, body, status, holds = REQUESTS[case]
    answered, content_type, document = ask(server, method, path, body)
    assert answered == status, document
    assert content_type == "application/json"
    if isinstance(holds, str):
        assert list(document) == ["error"]
        assert holds in document["error"]
    else:
        assert holds(document), document


def ask(server, method, path, body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=60)
    try:
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection.request(method, path, content, {"Content-Type": "application/json", **headers})
        response = connection.getresponse()
        return response.status, response.headers["Content-Type"], json.loads(response.read())
    finally:
        connection.close()


def test_rest_and_grpc_give_the_same_answer(server, channel, images):
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    expected = arrays(stub.Predict(predict({"image_bytes": images})))
    encoded = [{"b64": base64.b64encode(image).decode()} for image in images]
    _, _, by_rows = ask(server, "POST", VERB, rows(*encoded))
    _, _, by_columns = ask(server, "POST", VERB, columns(encoded))
    for key, array in expected.items():
        wanted = np.char.decode(array.astype(bytes), "utf-8") if array.dtype == object else array
        found = np.array(by_columns["outputs"][key], wanted.dtype)
        assert np.array_equal(found, wanted), key
        assert [row[key] for row in by_rows["predictions"]] == by_columns["outputs"][key]


def test_gzip_is_unpacked(server):
    body, packed = json.dumps(rows(B64)).encode(), {"Content-Encoding": "gzip"}
    plain = ask(server, "POST", VERB, body)
    assert plain[0] == 200 and ask(server, "POST", VERB, gzip.compress(body), **packed) == plain
    for content, sentence in ((body, "body must be gzip"), (gzip.compress(body)[:-20], "it ends too early")):
        status, _, document = ask(server, "POST", VERB, content, **packed)
        assert status == 400 and sentence in document["error"]
    bomb = gzip.compress(bytes(MESSAGE_BYTES + 1))
    status, _, document = ask(server, "POST", VERB, bomb, **packed)
    assert status == 413 and "body must have at most" in document["error"]
