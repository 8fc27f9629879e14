"""Runs a WSGI application on its own port, in threads of this process."""

import logging
import socket
import threading
from collections.abc import Iterable
from typing import Any

from werkzeug.exceptions import ServiceUnavailable
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wsgi import ClosingIterator

_log = logging.getLogger(__name__)


class _Handler(WSGIRequestHandler):
    timeout = 60  # seconds of silence after which a connection is closed

    def log(self, type: str, message: str, *args: Any) -> None:
        _log.debug(message, *args)


class RestServer:
    """Listens from its construction on, answers from `start` on, and lets requests end when it stops.

    Args:
        application: a WSGI application.
        host: address to listen on.
        port: port to listen on; 0 takes a free port.

    Attributes:
        port: the port.

    Raises:
        OSError: the port is not available.
    """

    def __init__(self, application: Any, host: str, port: int):
        self._application = application
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.create_server((host, port), family=family) as listener:
            self._server = make_server(
                host, port, self._answer, threaded=True, request_handler=_Handler, fd=listener.fileno()
            )
        self.port: int = self._server.port
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="rest", daemon=True
        )
        self._ended = threading.Condition()
        self._under_way = 0
        self._stopping = False

    def start(self) -> None:
        """Starts to answer, with one thread per request."""
        self._thread.start()

    def stop(self, grace: float) -> None:
        """Refuses new requests, and waits up to `grace` seconds for the running ones."""
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()
        with self._ended:
            self._stopping = True
            self._ended.wait_for(lambda: not self._under_way, grace)

    def _answer(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        with self._ended:
            if self._stopping:
                return ServiceUnavailable()(environ, start_response)
            self._under_way += 1
        try:
            answer = self._application(environ, start_response)
        except BaseException:
            self._end()
            raise
        return ClosingIterator(answer, self._end)

    def _end(self) -> None:
        with self._ended:
            self._under_way -= 1
            self._ended.notify_all()
