"""Replaces versions of a model while requests are running."""

import shutil
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
)

from .load import Load, closed_loop, predict_request

SECONDS_TO_TAKE_OVER = 120
AVAILABLE, END = (
    get_model_status_pb2.ModelVersionStatus.AVAILABLE,
    get_model_status_pb2.ModelVersionStatus.END,
)


def place(export: Path, directory: Path, version: int) -> Path:
    """Copies an export into a model's folder as a version, which appears by one rename."""
    shutil.copytree(export, directory / ".copying")
    return (directory / ".copying").rename(directory / str(version))


def states(address: str) -> dict[int, get_model_status_pb2.ModelVersionStatus]:
    """Returns the status of each version from GetModelStatus."""
    asked = get_model_status_pb2.GetModelStatusRequest()
    asked.model_spec.name = "default"
    with grpc.insecure_channel(address) as channel:
        answer = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(asked, timeout=30)
    return {status.version: status for status in answer.model_version_status}


def await_state(address: str, version: int, state: int) -> get_model_status_pb2.ModelVersionStatus:
    deadline = time.monotonic() + SECONDS_TO_TAKE_OVER
    while True:
        found = states(address).get(version)
        if found is not None and found.state == state:
            return found
        assert time.monotonic() < deadline, f"version {version} is {found}, not {state}"
        time.sleep(0.1)


def swap(address: str, directory: Path, exports: Sequence[Path], swaps: int) -> None:
    """Replaces version 1 in `directory`, which `address` serves, by 2, 3, ... and removes old versions.

    Version v is a copy of `exports[v % len(exports)]`.
    """
    for version in range(2, swaps + 2):
        place(exports[version % len(exports)], directory, version)
        await_state(address, version, AVAILABLE)
        await_state(address, version - 1, END)
        shutil.rmtree(directory / str(version - 1))


def load_during(
    action: Callable[[], None],
    address: str,
    labels: Sequence[set[str]],
    pictures: Sequence[bytes],
    callers: int = 4,
) -> Load:
    """Runs callers that send the same pictures from before `action` until after it.

    Args:
        action: the function to run meanwhile.
        address: HOST:PORT of the server.
        labels: version v has the labels `labels[v % len(labels)]`; the sets are disjoint, so an answer shows its
            version.
        pictures: the pictures of each request.
        callers: the number of concurrent requests.

    Returns:
        The load. An answer with labels that do not belong to its version counts as a failure.
    """
    over = threading.Event()

    def check(answer: bytes) -> str | None:
        response = predict_pb2.PredictResponse.FromString(answer)
        version = response.model_spec.version.value
        found = {label.decode() for label in tf.make_ndarray(response.outputs["labels"]).ravel()}
        return None if found <= labels[version % len(labels)] else f"version {version} answered {found}"

    with ThreadPoolExecutor(1) as pool:
        load = pool.submit(
            closed_loop, address, predict_request(pictures), callers, lambda _: not over.is_set(), check
        )
        try:
            action()
        finally:
            over.set()
        return load.result()
