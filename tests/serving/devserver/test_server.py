"""The embedded server over a real loopback connection: answers, starts and stops. `test_conformance` tests refusals."""

import shutil
import signal
import socket
import subprocess
import sys
import threading
from concurrent import futures
from pathlib import Path
from types import SimpleNamespace
from urllib.request import urlopen

import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc

import ctxvision as cv
from ctxvision.data import decode_picture
from ctxvision.serving import Server
from ctxvision.serving.devserver import server as server_module
from ctxvision.serving.devserver.prediction import predict_with
from ctxvision.serving.loading import LoadedExport
from tests.serving.conftest import LABELS
from tests.tiny_model import IMAGE_SIZE

Code = grpc.StatusCode


@pytest.fixture(scope="module")
def server(export_directory):
    with Server(export_directory, port=0) as running:
        yield running


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(f"localhost:{server.port}", [("grpc.max_send_message_length", -1)]) as channel:
        yield channel


@pytest.fixture(scope="module")
def stub(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


def request(inputs, name="default", signature="", output_filter=(), version=None):
    made = predict_pb2.PredictRequest(output_filter=output_filter)
    made.model_spec.name = name
    made.model_spec.signature_name = signature
    if version is not None:
        made.model_spec.version.value = version
    for key, value in inputs.items():
        made.inputs[key].CopyFrom(value if isinstance(value, tensor_pb2.TensorProto) else _proto(value))
    return made


def _proto(value):
    return tf.make_tensor_proto(value)


def refused(call, made, code, match):
    with pytest.raises(grpc.RpcError) as error:
        call(made, timeout=20)
    assert error.value.code() == code, error.value.details()
    assert match in error.value.details()


def test_predict_answers_like_the_model(model, server, stub, images):
    response = stub.Predict(request({"image_bytes": images}))
    outputs = {key: tf.make_ndarray(value) for key, value in response.outputs.items()}
    expected = model(np.stack([decode_picture(image, IMAGE_SIZE) for image in images]))
    np.testing.assert_allclose(outputs["probabilities"], expected["probabilities"], atol=1e-5)
    assert np.array_equal(outputs["phrases"], expected["phrases"].numpy())
    assert set(outputs) == {"probabilities", "labels", "scores", "phrases", "phrase_scores", "valid"}
    assert (response.model_spec.name, response.model_spec.version.value) == ("default", 2)
    assert response.model_spec.signature_name == "serving_default"


def test_predict_by_pixels_by_explain_and_with_a_filter(stub, images):
    pixels = np.stack([decode_picture(image, IMAGE_SIZE) for image in images])
    by_bytes = stub.Predict(request({"image_bytes": images}, version=2))
    by_pixels = stub.Predict(request({"pixels": pixels}, signature="pixels", output_filter=["labels"]))
    assert list(by_pixels.outputs) == ["labels"]
    labels = tf.make_ndarray(by_pixels.outputs["labels"])
    assert np.array_equal(labels, tf.make_ndarray(by_bytes.outputs["labels"]))
    explained = stub.Predict(request({"image_bytes": images}, signature="explain"))
    assert tf.make_ndarray(explained.outputs["phrase_shares"]).shape == (len(images), 3, 3)


def test_the_highest_version_serves(export_directory, tmp_path, images):
    for name in ("9", "10"):
        shutil.copytree(export_directory / "2", tmp_path / name)
    (tmp_path / "11").mkdir()  # incomplete: no saved_model.pb yet
    (tmp_path / "notes").mkdir()
    with Server(tmp_path, port=0) as server, grpc.insecure_channel(f"localhost:{server.port}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        assert stub.Predict(request({"image_bytes": images})).model_spec.version.value == 10
        refused(
            stub.Predict, request({"image_bytes": images}, version=9), Code.NOT_FOUND, "Specific(default, 9)"
        )


def test_predict_refuses_tensors_that_lie_about_their_size(stub):
    bomb = _proto([b"x"])
    bomb.tensor_shape.dim[0].size = 2**40
    match = "image_bytes must be DT_STRING [any] of at most 67108864 bytes, got [1099511627776]"
    refused(stub.Predict, request({"image_bytes": bomb}), Code.INVALID_ARGUMENT, match)
    short = _proto(np.zeros((2, 8, 8, 3), np.uint8))
    short.tensor_content = b"too short"
    refused(
        stub.Predict, request({"pixels": short}, signature="pixels"), Code.INVALID_ARGUMENT, "cannot be read"
    )
    strange = _proto([b"x"])
    strange.dtype = 999
    refused(stub.Predict, request({"image_bytes": strange}), Code.INVALID_ARGUMENT, "got dtype 999 [1]")


def test_messages_may_have_64_megabytes(stub, images):
    large = images[0] + bytes(8 * 2**20)  # a PNG may have trailing bytes
    response = stub.Predict(request({"image_bytes": [large]}))
    assert tf.make_ndarray(response.outputs["valid"]).tolist() == [True]


def test_metadata_tells_the_signatures(stub):
    asked = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    asked.model_spec.name = "default"
    response = stub.GetModelMetadata(asked)
    found = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(found)
    signature = found.signature_def["serving_default"]
    assert list(signature.inputs) == ["image_bytes"]
    assert [d.size for d in signature.outputs["probabilities"].tensor_shape.dim] == [-1, len(LABELS)]
    assert response.model_spec.version.value == 2
    embed = found.signature_def["embed"]
    assert set(embed.inputs) - set(embed.defaults) == {"image_bytes"}


def test_health(channel):
    health = health_pb2_grpc.HealthStub(channel)
    for service in ("", "default"):
        checked = health.Check(health_pb2.HealthCheckRequest(service=service))
        assert checked.status == health_pb2.HealthCheckResponse.SERVING
    refused(health.Check, health_pb2.HealthCheckRequest(service="other"), Code.NOT_FOUND, "")


def test_reflection_lists_the_services(channel):
    described = ProtoReflectionDescriptorDatabase(channel)
    assert set(described.get_services()) == {
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
        "tensorflow.serving.ModelService",
        "tensorflow.serving.PredictionService",
    }
    file = described.FindFileContainingSymbol("tensorflow.serving.PredictionService")
    assert "Predict" in [method.name for method in file.service[0].method]


def test_a_request_whose_deadline_passes_in_the_queue_is_not_computed(export_directory, monkeypatch):
    begun, go_on = threading.Semaphore(0), threading.Event()

    def slow(export, request):
        begun.release()
        assert go_on.wait(30)
        return predict_pb2.PredictResponse()

    monkeypatch.setattr("ctxvision.serving.devserver.served_model.predict_with", slow)
    with (
        Server(export_directory, port=0) as server,
        grpc.insecure_channel(f"localhost:{server.port}") as channel,
    ):
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        made = request({"image_bytes": [b""]})
        answers = [stub.Predict.future(made) for _ in range(server_module._THREADS)]
        for _ in answers:
            assert begun.acquire(timeout=30)
        with pytest.raises(grpc.RpcError) as error:
            stub.Predict(made, timeout=0.1)
        assert error.value.code() == Code.DEADLINE_EXCEEDED
        go_on.set()
        assert all(answer.result(timeout=30) is not None for answer in answers)
        stub.Predict(made, timeout=30)
        assert begun.acquire(blocking=False) and not begun.acquire(blocking=False), (
            "the late one was computed"
        )


def test_a_stop_waits_for_running_rest_requests(export_directory, monkeypatch):
    begun, go_on = threading.Event(), threading.Event()

    def slow(export, request):
        begun.set()
        assert go_on.wait(30)
        return predict_with(export, request)

    monkeypatch.setattr("ctxvision.serving.devserver.rest.predict_with", slow)
    with Server(export_directory, port=0, rest_port=0) as server, futures.ThreadPoolExecutor() as pool:
        url = f"http://127.0.0.1:{server.rest_port}/v1/models/default:predict"
        answer = pool.submit(urlopen, url, b'{"instances": ["none"]}', 60)
        assert begun.wait(30)
        stopping = pool.submit(server.stop, 60)
        with pytest.raises(futures.TimeoutError):
            stopping.result(timeout=0.5)
        go_on.set()
        assert b'"valid": false' in answer.result(timeout=60).read()
        stopping.result(timeout=60)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.rest_port))


def test_a_stop_waits_for_running_requests(export_directory, images, monkeypatch):
    begun, go_on = threading.Event(), threading.Event()

    def slow(export, request):
        begun.set()
        assert go_on.wait(30)
        return predict_with(export, request)

    monkeypatch.setattr("ctxvision.serving.devserver.served_model.predict_with", slow)
    with (
        Server(export_directory, port=0) as server,
        grpc.insecure_channel(f"localhost:{server.port}") as channel,
    ):
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        answer = stub.Predict.future(request({"image_bytes": images}))
        assert begun.wait(30)
        stopping = threading.Thread(target=server.stop, args=(30,))
        stopping.start()
        go_on.set()
        stopping.join(30)
        assert answer.result(timeout=30).outputs
        assert not stopping.is_alive()


def test_an_error_inside_the_model_does_not_stop_the_server(monkeypatch, tmp_path):
    class Failing:
        structured_outputs = {"probabilities": tf.TensorSpec([None])}
        structured_input_signature = ((), {"image_bytes": tf.TensorSpec([None], tf.string)})

        def __call__(self, image_bytes):
            raise RuntimeError("out of luck")

    saved_model = SimpleNamespace(signatures={"serving_default": Failing()})
    export = LoadedExport(1, tmp_path, saved_model, {"serving_default": SignatureDef()})
    monkeypatch.setattr("ctxvision.serving.devserver.versions.load_export", lambda _: export)
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").touch()
    with Server(tmp_path, port=0) as server, grpc.insecure_channel(f"localhost:{server.port}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        for _ in range(2):
            match = "The model failed on this request (RuntimeError: out of luck)."
            refused(stub.Predict, request({"image_bytes": [b""]}), Code.INTERNAL, match)


def test_refuses_a_port_in_use(server, export_directory):
    with pytest.raises(
        cv.InputError, match=f"port must be free on localhost, got {server.port}, which is in use"
    ):
        Server(export_directory, port=server.port).start()
    # A listener on only one of localhost's addresses would get some of the clients.
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(cv.InputError, match=f"port must be free on localhost, got {port}"):
            Server(export_directory, port=port).start()


@pytest.mark.parametrize("checked", [True, False], ids=["before the export is loaded", "afterwards"])
def test_refuses_a_port_in_use_before_and_after_loading(server, export_directory, monkeypatch, checked):
    if not checked:
        monkeypatch.setattr(Server, "_check_port", lambda *_: None)
    for arguments in ({"port": server.port}, {"port": 0, "rest_port": server.port}):
        (argument, _) = list(arguments.items())[-1]
        with pytest.raises(
            cv.InputError, match=f"^{argument} must be free on localhost, got {server.port}, which is in use"
        ):
            Server(export_directory, **arguments).start()


def test_listens_on_an_address_of_ipv6(export_directory):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with Server(export_directory, port=0, rest_port=0, host="::1") as server:
        with grpc.insecure_channel(f"[::1]:{server.port}") as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            assert stub.Predict(request({"image_bytes": [b""]}), timeout=60).outputs
        with urlopen(f"http://[::1]:{server.rest_port}/", timeout=60) as page:
            assert page.status == 200


def test_refuses_other_bad_arguments(tmp_path, export_directory):
    with pytest.raises(cv.InputError, match=r"port must lie in 0\.\.65535, got 70000"):
        Server(export_directory, port=70000)
    with pytest.raises(cv.InputError, match=r"rest_port must lie in 0\.\.65535, got -1: .* 8501"):
        Server(export_directory, rest_port=-1)
    with pytest.raises(cv.InputError, match="host must be a name or address of this machine, got 'no host'"):
        Server(export_directory, port=0, host="no host").start()
    with pytest.raises(
        cv.InputError, match="directory must hold an export as DIR/<version>/saved_model.pb, got"
    ):
        Server(tmp_path, port=0).start()
    with pytest.raises(cv.InputError, match="directory must hold an export"):
        Server(tmp_path / "missing", port=0).start()


def test_refuses_damaged_exports(export_directory, tmp_path, monkeypatch):
    version = tmp_path / "1"
    shutil.copytree(export_directory / "2", version)
    description = version / "assets" / "ctxvision.json"
    description.write_text('{"needs": ["scann"]}')
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "scann", None)
        with pytest.raises(
            cv.InputError,
            match="needs scann, which is not installed: install it, or export with --retrieval ivf",
        ):
            Server(tmp_path, port=0).start()
    description.write_text("{")
    with pytest.raises(cv.InputError, match="has a damaged ctxvision.json: export again"):
        Server(tmp_path, port=0).start()
    description.unlink()
    next(version.glob("variables/*.index")).unlink()
    with pytest.raises(
        cv.InputError, match="must be a whole SavedModel, but it does not load .*export again"
    ):
        Server(tmp_path, port=0).start()
    (version / "saved_model.pb").write_bytes(b"no protobuf")
    with pytest.raises(cv.InputError, match="must be a whole SavedModel, but it does not load"):
        Server(tmp_path, port=0).start()


def test_wait_returns_after_stop_and_the_port_is_free_again(export_directory, monkeypatch):
    server = Server(export_directory, port=0)
    server.wait()  # returns, since the server has not started
    server.start()
    monkeypatch.setattr(
        server._server, "wait_for_termination", lambda: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    server.wait()  # Ctrl-C stops the server, and `wait` returns
    with Server(export_directory, port=server.port) as again:
        assert again.port == server.port


SERVE = """
import signal, sys
from ctxvision.cli import main

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job inherits that it is ignored
status = main(["serve", sys.argv[1], "--port", "0", "--rest-port", "0"])
print([name for name in ("scann", "tensorflow_recommenders", "tensorflow_text") if name in sys.modules])
sys.exit(status)
"""


@pytest.mark.parametrize("sent", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_ctrl_c_and_sigterm_end_a_server_that_has_loaded_only_what_it_needs(export_directory, images, sent):
    command = [sys.executable, "-c", SERVE, str(export_directory)]
    root = Path(cv.__file__).parents[1]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=root
    ) as process:
        try:
            port = process.stdout.readline().rpartition(":")[2].strip()
            with urlopen(process.stdout.readline().split()[-1], timeout=20) as page:
                assert page.status == 200
            with grpc.insecure_channel(f"localhost:{port}") as channel:
                stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
                assert stub.Predict(request({"image_bytes": images}), timeout=20).outputs
            process.send_signal(sent)
            printed, errors = process.communicate(timeout=30)
        finally:
            process.kill()  # ends a process that would otherwise be waited for without end
    assert process.returncode == 0 and "Traceback" not in errors, errors
    assert printed == "[]\n"
