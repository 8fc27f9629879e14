"""Counts and verdicts of the serving benchmark."""

from concurrent import futures

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from tools.benchmarks._serving import hostile
from tools.benchmarks._serving.load import METHOD, Load, closed_loop, open_loop


@pytest.fixture
def echo():
    """Runs a server that answers Predict with the request's bytes, and aborts on b"no"."""

    class Handler(grpc.GenericRpcHandler):
        def service(self, details):
            return grpc.unary_unary_rpc_method_handler(answer) if details.method == METHOD else None

    def answer(request, context):
        if request == b"no":
            context.abort(grpc.StatusCode.INTERNAL, "no")
        return request

    server = grpc.server(futures.ThreadPoolExecutor(4), [Handler()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None)


def test_a_closed_loop_sends_its_requests_and_counts_wrong_answers(echo):
    load = closed_loop(echo, b"yes", 3, lambda begun: begun < 20)
    assert (len(load.latencies), load.failures) == (20, [])
    load = closed_loop(echo, b"yes", 2, lambda begun: begun < 5, lambda answer: "wrong" * (answer == b"yes"))
    assert (len(load.latencies), load.failures) == (0, ["wrong"] * 5)
    load = closed_loop(echo, b"no", 2, lambda begun: begun < 5)
    assert load.failures == ["INTERNAL: no"] * 5


def test_an_open_loop_sends_at_its_rate_and_counts_failures(echo):
    load = open_loop(echo, b"yes", rate=100, seconds=0.5)
    assert (len(load.latencies), load.failures) == (50, [])
    assert load.seconds >= 0.49  # the last request was due then
    assert len(open_loop(echo, b"no", rate=100, seconds=0.1).failures) == 10


def test_percentiles_and_rate():
    load = Load(np.array([0.001, 0.002, 0.003]), [], 1.5)
    assert (load.milliseconds(50), load.rate) == (2.0, 2.0)


def answer(valid, probabilities, label=b"cat"):
    response = predict_pb2.PredictResponse()
    outputs = {"valid": valid, "probabilities": np.float32(probabilities), "labels": [[label], [b"cat"]]}
    for key, value in outputs.items():
        response.outputs[key].CopyFrom(tf.make_tensor_proto(value))
    return response.SerializeToString()


RIGHT = np.array([0.25, 0.75])


@pytest.mark.parametrize(
    ("kind", "content", "wrong"),
    [
        (hostile.noise, answer([False, True], [[0, 0], RIGHT], b""), None),
        (hostile.flipped, answer([True, True], [[0.5, 0.5], RIGHT]), None),
        (hostile.noise, answer([True, True], [[0.5, 0.5], RIGHT]), "valid, although not a picture"),
        (hostile.flipped, answer([False, True], [[0.5, 0.5], RIGHT], b""), "not valid, but not blank"),
        (hostile.flipped, answer([False, True], [[0, 0], RIGHT]), "not valid, but not blank"),
        (hostile.flipped, answer([True, True], [[np.nan, 0], RIGHT]), "not finite"),
        (hostile.flipped, answer([False, False], [[0, 0], [0, 0]]), "the result of the good picture changed"),
        (
            hostile.flipped,
            answer([False, True], [[0, 0], [0.75, 0.25]], b""),
            "the result of the good picture changed",
        ),
    ],
)
def test_wrong_answers_to_hostile_inputs_are_detected(kind, content, wrong):
    found = hostile._wrong(kind, content, RIGHT)
    assert found is None if wrong is None else found.startswith(wrong)


def test_the_same_seed_gives_the_same_hostile_inputs():
    first, again = list(hostile._inputs(100, 3)), list(hostile._inputs(100, 3))
    assert first == again
    assert first != list(hostile._inputs(100, 4))
    assert {kind for kind, _ in first} >= set(hostile.KINDS)
