"""Parses TensorFlow Serving's configuration, the compose file and the Kubernetes manifests, with the formats' own
readers if they are installed, and checks that they agree."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
    wrappers_pb2,
)
from tensorflow_serving.config import model_server_config_pb2

from ctxvision.serving import Server
from ctxvision.serving.warmup import BATCHES
from tests.export.conftest import EXPORT

ROOT = EXPORT.parent
IMAGE = "tensorflow/serving:2.20.0"
Type = descriptor_pb2.FieldDescriptorProto

# Parts of TensorFlow Serving's session_bundle_config.proto and monitoring_config.proto; tensorflow-serving-api lacks them.
MESSAGES = {
    "BatchingParameters": [
        ("max_batch_size", 1, ".google.protobuf.Int64Value"),
        ("batch_timeout_micros", 2, ".google.protobuf.Int64Value"),
        ("max_enqueued_batches", 3, ".google.protobuf.Int64Value"),
        ("num_batch_threads", 4, ".google.protobuf.Int64Value"),
        ("thread_pool_name", 5, ".google.protobuf.StringValue"),
        ("allowed_batch_sizes", 6, Type.TYPE_INT64),
        ("pad_variable_length_inputs", 7, Type.TYPE_BOOL),
    ],
    "PrometheusConfig": [("enable", 1, Type.TYPE_BOOL), ("path", 2, Type.TYPE_STRING)],
    "MonitoringConfig": [("prometheus_config", 1, ".tensorflow.serving.PrometheusConfig")],
}


def message(name):
    """Makes an empty message of that name."""
    file = descriptor_pb2.FileDescriptorProto(
        name="config.proto", package="tensorflow.serving", syntax="proto3"
    )
    file.dependency.append("google/protobuf/wrappers.proto")
    for title, fields in MESSAGES.items():
        made = file.message_type.add(name=title)
        for field, number, kind in fields:
            label = Type.LABEL_REPEATED if field == "allowed_batch_sizes" else Type.LABEL_OPTIONAL
            typed = (
                {"type": Type.TYPE_MESSAGE, "type_name": kind} if isinstance(kind, str) else {"type": kind}
            )
            made.field.add(name=field, number=number, label=label, **typed)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"tensorflow.serving.{name}"))()


def read(name):
    return (EXPORT / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load(read("compose.yaml"))["services"]["serving"]


@pytest.fixture(scope="module")
def manifests():
    return {part["kind"]: part for part in yaml.safe_load_all(read("kubernetes.yaml"))}


@pytest.fixture(scope="module")
def container(manifests):
    (container,) = manifests["Deployment"]["spec"]["template"]["spec"]["containers"]
    return container


def test_models_config_serves_the_images_default_model():
    parsed = text_format.Parse(read("models.config"), model_server_config_pb2.ModelServerConfig())
    (model,) = parsed.model_config_list.config
    assert (model.name, model.base_path, model.model_platform) == ("default", "/models/default", "tensorflow")
    assert model.model_version_policy.latest.num_versions == 1


def test_the_canary_of_the_readme():
    (block,) = re.findall(r"```textproto\n(.*?)```", read("README.md"), re.DOTALL)
    (model,) = text_format.Parse(block, model_server_config_pb2.ModelServerConfig()).model_config_list.config
    assert dict(model.version_labels) == {"stable": 1, "canary": 2}
    assert list(model.model_version_policy.specific.versions) == [1, 2]


def test_monitoring_config_agrees_with_the_prometheus_annotations(manifests):
    parsed = text_format.Parse(read("monitoring.config"), message("MonitoringConfig"))
    assert parsed.prometheus_config.enable
    annotations = manifests["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/path"] == parsed.prometheus_config.path
    assert annotations["prometheus.io/port"] == "8501"


def test_batching_config_equals_the_measured_parameters():
    parsed = text_format.Parse(read("batching.config"), message("BatchingParameters"))
    found = {field.name: value.value for field, value in parsed.ListFields()}
    measured = json.loads((ROOT / "tools/benchmarks/results/batching.json").read_text(encoding="utf-8"))
    assert found == measured["parameters"]
    assert found["max_batch_size"] == BATCHES[-1], "the largest batch that an export's warm-up asks for"


def test_parsing_refuses_an_unknown_field():
    with pytest.raises(text_format.ParseError, match="max_batchsize"):
        text_format.Parse("max_batchsize { value: 1 }", message("BatchingParameters"))


def test_compose_mounts_the_model_read_only(compose):
    assert compose["image"] == IMAGE
    assert {port.rpartition(":")[2] for port in compose["ports"]} == {"8500", "8501"}
    assert all(port.startswith("127.0.0.1:") for port in compose["ports"])
    model, *configs = compose["volumes"]
    assert (model["target"], model["read_only"]) == ("/models/default", True)
    mounted = {}
    for volume in configs:
        source, target, mode = volume.split(":")
        assert mode == "ro" and (EXPORT / source).is_file()
        mounted[target] = source
    options = dict(option.split("=") for option in compose["command"])
    assert options["--model_config_file"] in mounted and options["--monitoring_config_file"] in mounted
    assert (
        set(compose["deploy"]["resources"]["limits"]) == {"cpus", "memory"} and compose["read_only"] is True
    )


def test_kubernetes_serves_like_compose(compose, container):
    assert container["image"] == IMAGE
    assert {port["name"]: port["containerPort"] for port in container["ports"]} == {
        "grpc": 8500,
        "rest": 8501,
    }
    assert set(compose["command"]) <= set(container["args"])
    mounts = {mount["mountPath"]: mount.get("readOnly", False) for mount in container["volumeMounts"]}
    assert mounts == {"/models/default": True, "/config": True, "/tmp": False}
    files = yaml.safe_load(read("kustomization.yaml"))["configMapGenerator"][0]["files"]
    assert {option.partition("=/config/")[2] for option in container["args"] if "/config/" in option} <= set(
        files
    )
    assert all((EXPORT / file).is_file() for file in files)


def test_the_same_command_checks_availability(compose, container):
    command = container["readinessProbe"]["exec"]["command"]
    assert container["startupProbe"]["exec"]["command"] == command == compose["healthcheck"]["test"][1:]
    assert compose["healthcheck"]["test"][0] == "CMD"
    assert "/v1/models/default " in command[-1] and "/8501 " in command[-1]
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] == 300
    assert compose["healthcheck"]["start_period"] == "300s"


def test_memory_limits_equal_requests_and_the_readme(compose, container):
    limits, requests = container["resources"]["limits"], container["resources"]["requests"]
    assert (
        limits["memory"] == requests["memory"] == "4Gi"
        and compose["deploy"]["resources"]["limits"]["memory"] == "4G"
    )
    variables = 65e6 * 4 + 26e6 + 1e6 * 0.5e3  # bytes per phrase below four million phrases
    needed = 0.5e9 + 2 * (variables + 0.2e9)
    told = f"V is {variables / 1e9:.1f} GB and a replica takes {needed / 1e9:.1f} GB"
    assert told in read("README.md") and needed < 4e9


def test_selectors_match_the_pods(manifests):
    labels = manifests["Deployment"]["spec"]["template"]["metadata"]["labels"]
    name = manifests["Deployment"]["metadata"]["name"]
    assert manifests["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert manifests["Service"]["spec"]["selector"] == labels
    assert manifests["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert manifests["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == name
    assert "replicas" not in manifests["Deployment"]["spec"], "an apply would undo the autoscaler's"
    assert manifests["HorizontalPodAutoscaler"]["spec"]["minReplicas"] >= 2, (
        "else a disruption budget means nothing"
    )
    ports = {port["targetPort"]: port["port"] for port in manifests["Service"]["spec"]["ports"]}
    assert ports == {"grpc": 8500, "rest": 8501}
    claim = manifests["PersistentVolumeClaim"]["metadata"]["name"]
    volumes = manifests["Deployment"]["spec"]["template"]["spec"]["volumes"]
    assert {"claimName": claim, "readOnly": True} in [
        volume.get("persistentVolumeClaim") for volume in volumes
    ]


def probe(container, port):
    *shell, script = container["readinessProbe"]["exec"]["command"]
    script = script.replace("127.0.0.1/8501", f"localhost/{port}")
    return subprocess.run([*shell, script], capture_output=True, text=True, timeout=30).returncode


def test_the_probe_against_the_embedded_server(container, served):
    with Server(served, port=0, rest_port=0) as server:
        assert probe(container, server.rest_port) == 0
        port = server.rest_port
    assert probe(container, port) != 0
    with Server(served, port=0, rest_port=0, name="other") as server:
        assert probe(container, server.rest_port) != 0


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
def test_kubectl_builds_the_manifests(tmp_path):
    done = subprocess.run(["kubectl", "kustomize", str(EXPORT)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    built = {part["kind"]: part for part in yaml.safe_load_all(done.stdout)}
    assert built["ConfigMap"]["data"]["models.config"] == read("models.config")
    volumes = built["Deployment"]["spec"]["template"]["spec"]["volumes"]
    assert {"name": built["ConfigMap"]["metadata"]["name"]} in [volume.get("configMap") for volume in volumes]


def docker_compose(tmp_path) -> list[str]:
    """Finds the command that reads the file: version 2, or version 1, which does not know one of its keys."""
    file = EXPORT / "compose.yaml"
    if (
        shutil.which("docker")
        and subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0
    ):
        return ["docker", "compose", "-f", str(file), "config"]
    if not shutil.which("docker-compose"):
        pytest.skip("docker compose is not installed")
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    del content["services"]["serving"]["volumes"][0]["bind"]
    known = tmp_path / "compose.yaml"
    known.write_text(yaml.safe_dump(content), encoding="utf-8")
    return ["docker-compose", "--project-directory", str(EXPORT), "-f", str(known), "config"]


def test_docker_compose_reads_the_file(tmp_path, monkeypatch):
    command = docker_compose(tmp_path)
    monkeypatch.delenv("MODEL", raising=False)
    refused = subprocess.run(command, capture_output=True, text=True)
    assert refused.returncode != 0 and "set it to the folder that holds the versions" in refused.stderr
    monkeypatch.setenv("MODEL", str(tmp_path))
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (model, *_) = yaml.safe_load(done.stdout)["services"]["serving"]["volumes"]
    assert Path(model["source"]) == tmp_path and model["read_only"]
