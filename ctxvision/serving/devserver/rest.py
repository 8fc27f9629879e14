"""A WSGI application with TF Serving's REST API over a served model, and the page."""

import html
import ipaddress
import json
import re
import zlib
from collections.abc import Iterable
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import urlsplit

import grpc
from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, predict_pb2
from werkzeug import Request, Response
from werkzeug.exceptions import Forbidden, HTTPException, MethodNotAllowed, NotFound, RequestEntityTooLarge

from ctxvision.serving.devserver.json_tensors import answer_json, fill_inputs, parse_json
from ctxvision.serving.devserver.prediction import (
    DEFAULT_SIGNATURE,
    MESSAGE_BYTES,
    RequestError,
    as_request_error,
    predict_with,
)
from ctxvision.serving.devserver.served_model import ServedModel
from ctxvision.serving.devserver.servicers import examples_refusal

_MODEL = r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_VERB = re.compile(rf"{_MODEL}:(?P<verb>predict|classify|regress)", re.IGNORECASE)
_STATUS = re.compile(rf"{_MODEL}(?P<metadata>/metadata)?", re.IGNORECASE)
_MOST_VERSION = 2**63 - 1

# TF Serving's table; codes outside it become 500.
_HTTP = {
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

_PAGE = Path(__file__).parent / "page"
_FILES = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}


class RestApi:
    """A WSGI application: predict, metadata and status as in TF Serving, and the page at `/`.

    Args:
        model: the served model.
        host: address that the server listens on. On a loopback address, the Host header of a request must name this
            machine. Otherwise a page elsewhere could point its own name here and read the answers.
    """

    def __init__(self, model: ServedModel, host: str):
        self._model = model
        self._hosts = {"localhost", "127.0.0.1", "::1"} if _is_loopback(host) else None
        self._files = {path: ((_PAGE / name).read_bytes(), kind) for path, (name, kind) in _FILES.items()}
        index, kind = self._files["/"]
        page = Template(index.decode()).substitute(model=html.escape(model.name))
        self._files["/"] = page.encode(), kind

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        request = Request(environ)
        request.max_content_length = MESSAGE_BYTES
        response = self._respond(request)
        response.headers.update(_HEADERS)
        return response(environ, start_response)

    def _respond(self, request: Request) -> Response:
        try:
            self._check_host(request)
            if request.path in self._files:
                return self._file(request)
            if not request.path.lower().startswith("/v1/"):
                raise NotFound(f"{request.path} is not here: the API is under /v1/models/{self._model.name}.")
            return _json(self._answer(request))
        except HTTPException as error:
            return _json({"error": error.description}, error.code, dict(error.get_headers()))
        except Exception as error:
            refusal = as_request_error(error)
            return _json({"error": str(refusal)}, _HTTP.get(refusal.code, 500))

    def _check_host(self, request: Request) -> None:
        named = request.headers.get("Host", "")
        if self._hosts is not None and _hostname(named) not in self._hosts:
            raise Forbidden(
                f"Host must be one of {', '.join(sorted(self._hosts))}, got {named!r}: serve with --host for other "
                "hosts."
            )

    def _file(self, request: Request) -> Response:
        if request.method not in ("GET", "HEAD"):
            raise MethodNotAllowed(
                ["GET", "HEAD"], f"{request.path} must be asked for by GET, got {request.method}."
            )
        content, kind = self._files[request.path]
        return Response(content, content_type=f"{kind}; charset=utf-8")

    def _answer(self, request: Request) -> dict[str, Any]:
        if request.method == "POST" and (found := _VERB.fullmatch(request.path)):
            return self._act(found, _body(request))
        if request.method == "GET" and (found := _STATUS.fullmatch(request.path)):
            return self._metadata(found) if found["metadata"] else self._status(found)
        if request.method == "GET" and request.path.lower() in ("/v1/models", "/v1/models/"):
            raise _invalid("Missing model name in request.")
        raise _invalid(f"Malformed request: {request.method} {request.path}")

    def _act(self, found: re.Match[str], body: bytes) -> dict[str, Any]:
        if (verb := found["verb"].lower()) != "predict":
            raise RequestError(grpc.StatusCode.UNIMPLEMENTED, examples_refusal(verb.capitalize()))
        asked = predict_pb2.PredictRequest()
        _fill_spec(asked.model_spec, found)
        document = parse_json(body)
        asked.model_spec.signature_name = document.get("signature_name") or DEFAULT_SIGNATURE
        with self._model.use(asked) as export:
            signature = export.signature_defs.get(asked.model_spec.signature_name)
            if signature is None:
                raise _invalid(
                    f'Serving signature name: "{asked.model_spec.signature_name}" not found in signature def, '
                    f"which has {', '.join(sorted(export.signatures))}."
                )
            rows = fill_inputs(asked, document, signature.inputs)
            return answer_json(predict_with(export, asked), rows)

    def _status(self, found: re.Match[str]) -> dict[str, Any]:
        asked = get_model_status_pb2.GetModelStatusRequest()
        _fill_spec(asked.model_spec, found)
        return _dict(self._model.status(asked))

    def _metadata(self, found: re.Match[str]) -> dict[str, Any]:
        asked = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        _fill_spec(asked.model_spec, found)
        response = self._model.metadata(asked)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        response.metadata["signature_def"].Unpack(signatures)
        return {"model_spec": _dict(response.model_spec), "metadata": {"signature_def": _dict(signatures)}}


def _body(request: Request) -> bytes:
    try:
        content = request.get_data()
        return content if request.content_encoding != "gzip" else _unpacked(content)
    except RequestEntityTooLarge as error:
        error.description = (
            f"body must have at most {MESSAGE_BYTES} bytes, got {request.content_length or 'more'}: "
            f"send fewer pictures at a time."
        )
        raise


def _unpacked(content: bytes) -> bytes:
    """Unpacks gzip, up to the largest size of a body."""
    unpacking = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)  # 16 selects gzip's header
    try:
        found = unpacking.decompress(content, MESSAGE_BYTES)
    except zlib.error as error:
        raise _invalid(
            f"body must be gzip as Content-Encoding says, it is not ({error}): send the body uncompressed."
        ) from None
    if unpacking.unconsumed_tail:
        raise RequestEntityTooLarge
    if not unpacking.eof:
        raise _invalid("body must be gzip as Content-Encoding says, it ends too early: send all of it.")
    return found


def _fill_spec(spec: Any, found: re.Match[str]) -> None:
    spec.name = found["name"]
    if found["label"]:
        spec.version_label = found["label"]
    if found["version"]:
        version = int(found["version"][:20])
        if version > _MOST_VERSION:
            raise _invalid(f"Failed to convert version: {found['version'][:20]} to numeric.")
        spec.version.value = version


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _hostname(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _dict(message: Any) -> dict[str, Any]:
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def _json(
    answer: dict[str, Any], status: int | None = 200, headers: dict[str, str] | None = None
) -> Response:
    kept = {key: value for key, value in (headers or {}).items() if key != "Content-Type"}
    return Response(json.dumps(answer, ensure_ascii=False), status, kept, content_type="application/json")


def _invalid(message: str) -> RequestError:
    return RequestError(grpc.StatusCode.INVALID_ARGUMENT, message)
