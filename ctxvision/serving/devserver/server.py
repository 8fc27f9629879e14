"""The embedded server: TF Serving's gRPC and REST APIs in one Python process, for development and tests."""

import errno
import importlib
import os
import socket
from concurrent import futures
from contextlib import suppress

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from ctxvision.errors import InputError
from ctxvision.serving.devserver.prediction import MESSAGE_BYTES
from ctxvision.serving.devserver.rest import RestApi
from ctxvision.serving.devserver.rest_server import RestServer
from ctxvision.serving.devserver.served_model import ServedModel
from ctxvision.serving.devserver.servicers import ModelServicer, PredictionServicer
from ctxvision.serving.devserver.versions import VersionManager

_THREADS = 8


class Server:
    """Serves the highest version of an export, so that clients of TensorFlow Serving work unchanged.

    gRPC: PredictionService (Predict, GetModelMetadata), ModelService (GetModelStatus), health and reflection, with
    messages of up to 64 MB. REST: predict, metadata and status, and a page at `/` to try the model. New versions take
    over while the server runs, see `VersionManager`. There is no TLS and no batching: use TensorFlow Serving in
    production.

    Args:
        directory: folder of the model, `DIR/<version>/saved_model.pb`.
        port: gRPC port; 0 takes a free port.
        name: name of the model in requests; the default is TF Serving's.
        host: address to listen on; `"0.0.0.0"` for all networks.
        rest_port: port of the REST API and the page; TF Serving's is 8501, 0 takes a free port, None serves no REST.

    Attributes:
        port, rest_port: the ports; a port given as 0 is known after `start`.
        version: version of the export that answers; None before `start`.

    Raises:
        InputError: a port is outside 0..65535. `start` raises it if the directory holds no export or a port is in use.

    Example:
        >>> with Server("serving/photos", port=0) as server:
        ...     answer = cv.predict(f"localhost:{server.port}", "picture.jpg")
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        port: int = 8500,
        name: str = "default",
        host: str = "localhost",
        rest_port: int | None = None,
    ):
        for argument, given, usual in (("port", port, 8500), ("rest_port", rest_port, 8501)):
            if given is not None and not 0 <= given <= 65535:
                raise InputError(
                    f"{argument} must lie in 0..65535, got {given}: TF Serving's is {usual}, 0 takes a free one."
                )
        self.directory = directory
        self.port = port
        self.name = name
        self.host = host
        self.rest_port = rest_port
        self._versions = VersionManager(directory, name)
        self._server: grpc.Server | None = None
        self._rest: RestServer | None = None
        self._health = health.HealthServicer()

    @property
    def version(self) -> int | None:
        return self._versions.current

    def start(self) -> "Server":
        """Loads the export, starts to listen, and returns the server.

        Raises:
            InputError: the directory holds no export that loads, a port is in use, or the host is unknown.
        """
        self._check_port("port", self.port)
        if self.rest_port is not None:
            self._check_port("rest_port", self.rest_port)
        self._versions.start()
        model = ServedModel(self._versions)
        try:
            if self.rest_port is not None:
                self._rest = self._listen_for_rest(model, self.rest_port)
            self._server = self._build(model)
        except Exception:
            self.stop()
            raise
        self._server.start()
        for service in ("", self.name):
            self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        return self

    def wait(self) -> None:
        """Blocks until the server is stopped; Ctrl-C stops it."""
        if self._server is None:
            return
        try:
            self._server.wait_for_termination()
        except KeyboardInterrupt:
            self.stop()

    def stop(self, grace: float = 5.0) -> None:
        """Refuses new requests, and waits up to `grace` seconds for the running ones."""
        self._health.enter_graceful_shutdown()
        stopped = self._server.stop(grace) if self._server is not None else None
        if self._rest is not None:
            self._rest.stop(grace)
        if stopped is not None:
            stopped.wait()
        self._versions.stop()

    def __enter__(self) -> "Server":
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def _build(self, model: ServedModel) -> grpc.Server:
        options = [
            # Without this, two servers can share a port, and each gets some of the requests.
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", MESSAGE_BYTES),
            ("grpc.max_send_message_length", MESSAGE_BYTES),
        ]
        server = grpc.server(futures.ThreadPoolExecutor(_THREADS), options=options)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(PredictionServicer(model), server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelServicer(model), server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        _enable_reflection(server)
        host = f"[{self.host}]" if ":" in self.host else self.host
        try:
            self.port = server.add_insecure_port(f"{host}:{self.port}")
        except RuntimeError as error:
            raise self._port_error("port", self.port) from error
        return server

    def _listen_for_rest(self, model: ServedModel, port: int) -> RestServer:
        try:
            rest = RestServer(RestApi(model, self.host), self.host, port)
        except OSError as error:
            raise self._port_error("rest_port", port) from error
        self.rest_port = rest.port
        rest.start()
        return rest

    def _check_port(self, argument: str, port: int) -> None:
        """Raises if a port is in use on any address, before the model is loaded; gRPC accepts one free address."""
        try:
            addresses = socket.getaddrinfo(self.host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise InputError(
                f"host must be a name or address of this machine, got {self.host!r} ({error}): use localhost or "
                "0.0.0.0."
            ) from error
        for family, kind, protocol, _, address in addresses:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(address)
                except OSError as error:
                    # A machine without IPv6 still resolves localhost to ::1; gRPC ignores that address.
                    if error.errno != errno.EADDRNOTAVAIL:
                        raise self._port_error(argument, port) from error

    def _port_error(self, argument: str, port: int) -> InputError:
        return InputError(
            f"{argument} must be free on {self.host}, got {port}, which is in use or not permitted: choose another."
        )


def _enable_reflection(server: grpc.Server) -> None:
    for service in ("prediction_service", "model_service"):
        # protobuf refuses the last lines of these modules, but by then their services are registered.
        with suppress(AttributeError):
            importlib.import_module(f"tensorflow_serving.apis.{service}_pb2")
    services = ("tensorflow.serving.PredictionService", "tensorflow.serving.ModelService")
    reflection.enable_server_reflection((*services, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
