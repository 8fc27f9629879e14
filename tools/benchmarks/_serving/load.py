"""Sends a bounded number of prepared requests to a gRPC server on this machine."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

METHOD = "/tensorflow.serving.PredictionService/Predict"
TIMEOUT_SECONDS = 60
OPTIONS = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]

Call = Callable[[bytes], bytes]


@dataclass(frozen=True)
class Load:
    """Results of a load.

    Attributes:
        latencies: float64 [answers], seconds per answer.
        failures: a message for each failed request and each wrong answer.
        seconds: time from the first request to the last answer.
    """

    latencies: np.ndarray
    failures: list[str]
    seconds: float

    @property
    def rate(self) -> float:
        """Answers per second."""
        return len(self.latencies) / self.seconds

    def milliseconds(self, percent: float) -> float:
        return float(1000 * np.percentile(self.latencies, percent))


def predict_request(pictures: Sequence[bytes], signature: str = "serving_default") -> bytes:
    """Serialises a PredictRequest for encoded pictures."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "default"
    request.model_spec.signature_name = signature
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(list(pictures), tf.string))
    return request.SerializeToString()


def connect(address: str) -> tuple[grpc.Channel, grpc.UnaryUnaryMultiCallable]:
    """Opens a separate connection, and returns it with its Predict call from bytes to bytes."""
    channel = grpc.insecure_channel(address, [*OPTIONS, ("grpc.use_local_subchannel_pool", 1)])
    return channel, channel.unary_unary(METHOD)


def closed_loop(
    address: str,
    request: bytes,
    callers: int,
    go_on: Callable[[int], bool],
    check: Callable[[bytes], str | None] = lambda answer: None,
) -> Load:
    """Runs callers that each send the next request when the last one is answered.

    Args:
        address: HOST:PORT on this machine.
        request: the request that all callers send.
        callers: the number of threads, each with its own connection.
        go_on: tells, from the number of requests begun, whether to begin another.
        check: tells what is wrong with an answer, None if it is right.
    """
    lock, begun = threading.Lock(), 0
    latencies: list[float] = []
    failures: list[str] = []

    def may_begin() -> bool:
        nonlocal begun
        with lock:
            begun += 1
            return go_on(begun - 1)

    def work() -> None:
        channel, call = connect(address)
        with channel:
            while may_begin():
                start = time.perf_counter()
                try:
                    wrong = check(call(request, timeout=TIMEOUT_SECONDS))
                except grpc.RpcError as error:
                    wrong = f"{error.code().name}: {error.details()}"
                took = time.perf_counter() - start
                with lock:
                    (failures if wrong else latencies).append(wrong or took)  # type: ignore[arg-type]

    threads = [threading.Thread(target=work) for _ in range(callers)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Load(np.array(latencies), failures, time.perf_counter() - start)


def for_seconds(seconds: float) -> Callable[[int], bool]:
    """Makes the `go_on` of `closed_loop` that stops after some seconds."""
    end = time.perf_counter() + seconds
    return lambda begun: time.perf_counter() < end


def open_loop(address: str, request: bytes, rate: float, seconds: float) -> Load:
    """Sends `rate` requests per second at even intervals, regardless of the answers.

    A latency counts from the time at which the request was due, so a stall counts for all requests that it delays.
    """
    answered = threading.Semaphore(0)
    latencies: list[float] = []
    failures: list[str] = []

    def note(future: grpc.Future, due: float) -> None:
        error = future.exception()
        if error is None:
            latencies.append(time.perf_counter() - due)
        else:
            failures.append(str(error))
        answered.release()

    channel, call = connect(address)
    with channel:
        start, number = time.perf_counter(), max(1, int(rate * seconds))
        for i in range(number):
            due = start + i / rate
            time.sleep(max(0.0, due - time.perf_counter()))
            call.future(request, timeout=TIMEOUT_SECONDS).add_done_callback(lambda f, due=due: note(f, due))
        for _ in range(number):
            answered.acquire()
        return Load(np.array(latencies), failures, time.perf_counter() - start)
