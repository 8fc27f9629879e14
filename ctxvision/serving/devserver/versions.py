"""Loads the versions of a model's directory as they appear; the highest one answers."""

import gc
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import tensorflow as tf
from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus

from ctxvision.errors import InputError
from ctxvision.serving.devserver.prediction import RequestError
from ctxvision.serving.devserver.replay import warm_up
from ctxvision.serving.loading import MODEL_FILE, LoadedExport, load_export, no_version, versions_in

_NOT_FOUND = grpc.StatusCode.NOT_FOUND.value[0]
_DATA_LOSS = grpc.StatusCode.DATA_LOSS.value[0]
_log = logging.getLogger(__name__)


@dataclass
class _Serving:
    """An export in memory and the number of its running requests."""

    export: LoadedExport
    requests: int = 0


class VersionManager:
    """Keeps the highest version of a directory loaded, as TensorFlow Serving does.

    A new version is loaded and warmed up while the old one answers, takes over between two requests, and the old one's
    memory is freed when its last request ends. A version that does not load, because it is incomplete or damaged,
    changes nothing; it is tried again when its files change. When the folder of the serving version disappears, the
    highest remaining version takes over. When no version remains, the version in memory stays (TensorFlow Serving's
    `servable_versions_always_present`; by default TensorFlow Serving would serve nothing).

    Args:
        directory: folder of the model, `DIR/<version>/saved_model.pb`; or of a single version, which is then the only
            one.
        name: name of the model in requests.
        poll_seconds: time between two checks of the directory.

    Example:
        >>> versions = VersionManager("serving/photos", "default").start()
        >>> with versions.use() as export:
        ...     print(export.version)
        1
        >>> versions.stop()
    """

    def __init__(self, directory: str | os.PathLike[str], name: str, poll_seconds: float = 1.0):
        self.name = name
        self._directory = directory
        self._poll_seconds = poll_seconds
        self._lock = threading.Lock()  # guards the next three; never held while loading or answering
        self._statuses: dict[int, ModelVersionStatus] = {}
        self._serving: _Serving | None = None
        self._replaced: list[_Serving] = []
        self._files_that_failed: dict[int, object] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="versions", daemon=True)

    @property
    def current(self) -> int | None:
        """The version that answers; None before `start`."""
        serving = self._serving
        return None if serving is None else serving.export.version

    def start(self) -> "VersionManager":
        """Loads the highest version that loads, and then watches the directory for other versions.

        Raises:
            InputError: no version loads; the error of a damaged version tells the reason.
        """
        self.poll()
        if self._serving is None:
            damaged = [s.status for s in self.statuses().values() if s.status.error_code != _NOT_FOUND]
            raise InputError(damaged[0].error_message) if damaged else no_version(self._directory)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stops watching; the loaded version stays in memory."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    @contextmanager
    def use(self, version: int | None = None) -> Iterator[LoadedExport]:
        """Yields the export that answers one request, and keeps it in memory until the request ends.

        Args:
            version: the version in the request; the current one by default.

        Raises:
            RequestError: NOT_FOUND, if that version does not answer.
        """
        with self._lock:
            serving = self._serving
            if serving is None or version not in (None, serving.export.version):
                asked = f"Latest({self.name})" if version is None else f"Specific({self.name}, {version})"
                raise RequestError(
                    grpc.StatusCode.NOT_FOUND,
                    f"Servable not found for request: {asked}; this server has version {self.current}.",
                )
            serving.requests += 1
        try:
            yield serving.export
        finally:
            with self._lock:
                serving.requests -= 1

    def statuses(self) -> dict[int, ModelVersionStatus]:
        """Returns the state of every version seen so far, the highest first; the caller must not change the states."""
        with self._lock:
            return dict(sorted(self._statuses.items(), reverse=True))

    def poll(self) -> None:
        """Checks the directory once, and loads a version that should answer."""
        self._free_replaced()
        try:
            found = versions_in(self._directory)
        except OSError:  # the directory is missing for the moment, which changes nothing
            return
        for number in sorted(found, reverse=True):
            if number == self.current or self._load(number, found[number]):
                break
        self._free_replaced()

    def _watch(self) -> None:
        while not self._stopped.wait(self._poll_seconds):
            try:
                self.poll()
            except Exception:  # the next check may find the directory in order
                _log.exception("looking for new versions in %s failed", self._directory)

    def _load(self, number: int, path: Path) -> bool:
        """Loads a version, warms it up and lets it answer; returns False if it fails or failed with the same files."""
        files = _files(path)
        if self._files_that_failed.get(number) == files:
            return False
        if any(replaced.export.version == number for replaced in self._replaced):
            return False  # the folder was removed and is back, while requests still use the old version
        self._set_status(number, ModelVersionStatus.LOADING)
        try:
            export = _loaded(path)
        except Exception as error:
            self._files_that_failed[number] = files
            self._set_status(number, ModelVersionStatus.END, _code(error), str(error))
            _log.warning("version %d is not served: %s", number, error)
            return False
        with self._lock:
            if self._serving is not None:
                self._replaced.append(self._serving)
            self._serving = _Serving(export)
        for replaced in self._replaced:
            self._set_status(replaced.export.version, ModelVersionStatus.UNLOADING)
        self._set_status(number, ModelVersionStatus.AVAILABLE)
        _log.info("version %d answers", number)
        return True

    def _free_replaced(self) -> None:
        """Frees replaced versions without running requests."""
        with self._lock:
            idle = [replaced.export.version for replaced in self._replaced if not replaced.requests]
            self._replaced = [replaced for replaced in self._replaced if replaced.requests]
        for number in idle:
            self._set_status(number, ModelVersionStatus.END)
        if idle:
            gc.collect()  # the functions of a SavedModel hold each other in reference cycles

    def _set_status(self, number: int, state: int, code: int = 0, message: str = "") -> None:
        status = ModelVersionStatus(version=number, state=state)
        status.status.error_code = code
        status.status.error_message = message
        with self._lock:
            self._statuses[number] = status


def _loaded(path: Path) -> LoadedExport:
    if not (path / MODEL_FILE).is_file():
        raise RequestError(
            grpc.StatusCode.NOT_FOUND,
            f"Could not find {MODEL_FILE} in {str(path)!r}: copy the whole export.",
        )
    export = load_export(path)
    try:
        warm_up(export)
    except Exception as error:
        raise InputError(
            f"the export {str(path)!r} must answer its own warm-up requests, but it does not ({error}): export again."
        ) from error
    return export


def _files(path: Path) -> object:
    """Returns a value that changes when a file of the version changes."""
    try:
        return {str(f): (stat.st_size, stat.st_mtime_ns) for f in path.rglob("*") for stat in [f.stat()]}
    except OSError:  # a file was removed during the walk
        return None


def _code(error: BaseException) -> int:
    """Returns TensorFlow's code for the error with which a version did not load."""
    cause = error.__cause__ or error
    if isinstance(cause, RequestError):
        return int(cause.code.value[0])
    return int(cause.error_code) if isinstance(cause, tf.errors.OpError) else int(_DATA_LOSS)
