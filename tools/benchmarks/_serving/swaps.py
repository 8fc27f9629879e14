"""Versions replaced while requests are under way."""

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
    """Copies an export to be a version of a model, by one rename at the end."""
    shutil.copytree(export, directory / ".copying")
    return (directory / ".copying").rename(directory / str(version))


def states(address: str) -> dict[int, get_model_status_pb2.ModelVersionStatus]:
    """What GetModelStatus says of each version."""
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
    """Replaces version 1, which `address` serves from `directory`, by 2, 3, ...: version v is a copy of
    `exports[v % len(exports)]`; what was replaced is removed."""
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
    """Callers ask for the same pictures from before `action` to after it.

    Args:
        action: what is done meanwhile.
        address: of the server.
        labels: version v has `labels[v % len(labels)]`; none is in two of them, so that an answer tells where it is from.
        pictures: of each request.
        callers: so many requests at a time.

    Returns:
        The load; an answer whose labels are not all of the version that it names is a failure.
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
