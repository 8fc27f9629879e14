"""One model under a name, which answers gRPC and REST."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_pb2, predict_pb2

from ctxvision.serving.devserver.prediction import RequestError, predict_with, set_spec
from ctxvision.serving.devserver.versions import VersionManager
from ctxvision.serving.loading import LoadedExport

_SIGNATURES = "signature_def"


class ServedModel:
    """Answers TF Serving's requests, each with exactly one version of a model.

    Every method raises `RequestError` with TF Serving's code if a request names no model, another model, or a version
    that does not answer.

    Args:
        versions: versions of the model, under the model's name.
    """

    def __init__(self, versions: VersionManager):
        self.name = versions.name
        self._versions = versions

    def predict(self, request: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
        """Answers a request as `predict_with` does; raises its errors too."""
        with self.use(request) as export:
            return predict_with(export, request)

    def metadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """Returns the signatures of the version that answers; `metadata_field` must ask for `signature_def`."""
        with self.use(request) as export:
            if not request.metadata_field:
                raise _invalid(
                    f"GetModelMetadataRequest must specify at least one metadata_field: {_SIGNATURES!r}."
                )
            for field in request.metadata_field:
                if field != _SIGNATURES:
                    raise _invalid(f"Metadata field {field} is not supported: ask for {_SIGNATURES!r}.")
            signatures = get_model_metadata_pb2.SignatureDefMap()
            for key, signature in export.signature_defs.items():
                signatures.signature_def[key].CopyFrom(signature)
            response = get_model_metadata_pb2.GetModelMetadataResponse()
            set_spec(response.model_spec, self.name, export.version)
            response.metadata[_SIGNATURES].Pack(signatures)
            return response

    def status(
        self, request: get_model_status_pb2.GetModelStatusRequest
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """Returns the states of all versions seen, the highest first, or of the version in the request."""
        spec, statuses = _spec(request), self._versions.statuses()
        if spec.name != self.name:
            raise _not_found(
                f"Could not find any versions of model {spec.name}; this server has model {self.name!r}."
            )
        if spec.HasField("version"):
            version = spec.version.value
            if version not in statuses:
                raise _not_found(
                    f"Could not find version {version} of model {spec.name}; this server has seen {list(statuses)}."
                )
            statuses = {version: statuses[version]}
        return get_model_status_pb2.GetModelStatusResponse(model_version_status=statuses.values())

    @contextmanager
    def use(self, request: Any) -> Iterator[LoadedExport]:
        """Yields the export that answers a request, and keeps it in memory until the request ends."""
        spec = _spec(request)
        version = spec.version.value if spec.HasField("version") else None
        if spec.name != self.name:
            asked = f"Latest({spec.name})" if version is None else f"Specific({spec.name}, {version})"
            raise _not_found(f"Servable not found for request: {asked}; this server has model {self.name!r}.")
        with self._versions.use(version) as export:
            yield export


def _spec(request: Any) -> model_pb2.ModelSpec:
    if not request.HasField("model_spec"):
        raise _invalid("Missing ModelSpec: set model_spec.name.")
    spec: model_pb2.ModelSpec = request.model_spec
    if not spec.name:
        raise _invalid("ModelSpec has no name specified: set model_spec.name.")
    if spec.HasField("version_label"):
        raise _invalid(
            f"Unrecognized servable version label: {spec.version_label!r}; this server has only numbered versions."
        )
    return spec


def _invalid(message: str) -> RequestError:
    return RequestError(grpc.StatusCode.INVALID_ARGUMENT, message)


def _not_found(message: str) -> RequestError:
    return RequestError(grpc.StatusCode.NOT_FOUND, message)
