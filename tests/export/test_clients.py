"""Tests the output and failures of the clients in export/clients with the embedded server."""

import base64
import json
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from google.protobuf import descriptor_pb2
from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2, types_pb2
from tensorflow_serving.apis import model_pb2, predict_pb2

from ctxvision.serving import Server, predict
from tests.export.conftest import EXPORT
from tests.fresh_process import run_fresh
from tests.serving.conftest import encode

CLIENTS = EXPORT / "clients"


class Client(NamedTuple):
    command: list[str]
    address: str


@pytest.fixture(scope="module")
def server(served):
    with Server(served, port=0, rest_port=0) as running:
        yield running


@pytest.fixture(scope="module")
def other_model(served):
    with Server(served, port=0, name="other", rest_port=0) as running:
        yield running


@pytest.fixture(scope="module")
def node_folder(tmp_path_factory):
    """Installs the Node client with its packages."""
    if not shutil.which("npm") or not shutil.which("node"):
        pytest.skip("node and npm are not installed")
    folder = shutil.copytree(CLIENTS, tmp_path_factory.mktemp("node") / "clients")
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(params=["python", pytest.param("node", marks=pytest.mark.slow), "curl"])
def client(request, server):
    if request.param == "python":
        return Client([sys.executable, str(CLIENTS / "python_client.py")], f"localhost:{server.port}")
    if request.param == "node":
        folder = request.getfixturevalue("node_folder")
        return Client(["node", str(folder / "node_client.js")], f"localhost:{server.port}")
    missing = [tool for tool in ("curl", "jq") if not shutil.which(tool)]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not installed")
    return Client(["sh", str(CLIENTS / "curl_client.sh")], f"localhost:{server.rest_port}")


def ask(client: Client, *paths, address=None):
    if client.command[0] == sys.executable:
        program, arguments = Path(client.command[1]), [address or client.address, *paths]
        return run_fresh(
            program, arguments, ["tensorflow", "tensorflow_serving.apis.prediction_service_pb2_grpc"]
        )
    command = [*client.command, address or client.address, *map(str, paths)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Writes files with unusual names; the largest does not fit on a command line."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(1)
    names = {"a.png": 20, "with space.png": 30, "größe.png": 300}
    for name, side in names.items():
        (folder / name).write_bytes(encode(rng.integers(0, 256, (side, side, 3), np.uint8)))
    return [folder / name for name in names]


def line(found):
    phrases = ", ".join(phrase for phrase, _ in found.phrases)
    return f"{found.path}\t{found.label}\t{found.score:.3f}\t{phrases}"


def test_answers_equal_those_of_the_library(client, version, pictures, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    done = ask(client, pictures[0], broken, *pictures[1:])
    assert done.returncode == 0, done.stderr
    expected = [line(found) for found in predict(version, pictures)]
    expected.insert(1, f"{broken}\tno picture")
    assert done.stdout.splitlines() == expected


def test_one_picture(client, version, pictures):
    """Tests an answer of one row, because servers send a single number differently from several."""
    done = ask(client, pictures[2])
    assert done.stdout.splitlines() == [line(found) for found in predict(version, pictures[2:])], done.stderr


def test_wrong_usage_and_a_missing_file(client, pictures):
    for done, message in (
        (ask(client), "usage: "),
        (ask(client, pictures[0], "nowhere.png"), "nowhere.png cannot be read: "),
    ):
        assert (done.returncode, done.stdout) == (2, "")
        (told,) = done.stderr.splitlines()[-1:]
        assert told.startswith(message) and "Traceback" not in done.stderr


def test_a_missing_server(client, pictures):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    done = ask(client, pictures[0], address=address)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.search(rf"{address} (answers UNAVAILABLE: |does not answer$)", done.stderr.strip())


def test_a_server_without_that_model(client, other_model, pictures):
    port = other_model.rest_port if client.command[0] == "sh" else other_model.port
    done = ask(client, pictures[0], address=f"localhost:{port}")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.search(r"localhost:\d+ answers( NOT_FOUND)?: .*default", done.stderr)


@pytest.mark.parametrize("name", ["python_client.py", "node_client.js", "curl_client.sh"])
def test_a_client_is_short_and_needs_nothing_of_this_library(name):
    source = (CLIENTS / name).read_text(encoding="utf-8")
    assert "ctxvision" not in source and len(source.splitlines()) <= 60


def test_the_lock_file_fits_package_json():
    asked = json.loads((CLIENTS / "package.json").read_text())
    locked = json.loads((CLIENTS / "package-lock.json").read_text())
    assert locked["packages"][""]["dependencies"] == asked["dependencies"]
    assert all("integrity" in package for name, package in locked["packages"].items() if name)
    assert not any("resolved" in package for package in locked["packages"].values())


# === predict.proto ===

REAL = {
    "PredictRequest": predict_pb2.PredictRequest,
    "PredictResponse": predict_pb2.PredictResponse,
    "ModelSpec": model_pb2.ModelSpec,
    "TensorProto": tensor_pb2.TensorProto,
    "TensorShapeProto": tensor_shape_pb2.TensorShapeProto,
}
DUMP = """
const definition = require("@grpc/proto-loader").loadSync("predict.proto", { keepCase: true });
const [bytes] = definition["tensorflow.serving.PredictRequest"].fileDescriptorProtos;
console.log(bytes.toString("base64"));
"""


def fields(message):
    """Describes what determines the bytes: number, type, one or many, and message or enum of each field by name.

    A map's message is described by its fields, because each compiler chooses its name.
    """
    maps = {
        part.name: frozenset(fields(part).items()) for part in message.nested_type if part.options.map_entry
    }
    kinds = {part.name: part.type_name.rpartition(".")[2] for part in message.field}
    return {
        part.name: (part.number, part.type, part.label, maps.get(kinds[part.name], kinds[part.name]))
        for part in message.field
    }


def messages(message):
    return {part.name: part for part in message.nested_type if not part.options.map_entry}


def described(real: Callable) -> descriptor_pb2.DescriptorProto:
    proto = descriptor_pb2.DescriptorProto()
    real.DESCRIPTOR.CopyToProto(proto)
    return proto


@pytest.fixture(scope="module")
def own(node_folder):
    done = subprocess.run(["node", "-e", DUMP], cwd=node_folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return descriptor_pb2.FileDescriptorProto.FromString(base64.b64decode(done.stdout))


@pytest.mark.slow
def test_the_proto_file_is_a_subset_of_the_servers(own):
    assert {message.name for message in own.message_type} == set(REAL)
    for message in own.message_type:
        real = described(REAL[message.name])
        assert fields(message).items() <= fields(real).items(), message.name
        for name, inner in messages(message).items():
            assert fields(inner).items() <= fields(messages(real)[name]).items(), name
    (types,) = own.enum_type
    assert {value.name: value.number for value in types.value}.items() <= dict(
        types_pb2.DataType.items()
    ).items()
