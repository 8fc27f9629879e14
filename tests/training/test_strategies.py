"""Names of strategies, refused settings, and the dtypes of a TPU."""

import json

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import ctxvision as cv
from ctxvision.training.fit import fit
from ctxvision.training.strategies import (
    building,
    check_batch,
    distributed,
    is_chief,
    make_strategy,
    num_workers,
    policy_of,
    steps_per_execution,
)
from tests.training.stages import stages


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in ("TF_CONFIG", "TPU_NAME", "COLAB_TPU_ADDR"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", ["auto", "cpu", "mirrored", None])
def test_strategies_of_a_machine_without_accelerators(name):
    strategy = make_strategy(name)
    assert strategy.num_replicas_in_sync == 1 and is_chief(strategy) and num_workers(strategy) == 1
    assert policy_of(strategy) == "float32" and steps_per_execution(strategy) == 1


def test_a_strategy_is_returned_as_it_is_and_none_gives_the_strategy_in_scope():
    given = tf.distribute.OneDeviceStrategy("/cpu:0")
    assert make_strategy(given) is given
    with given.scope():
        assert make_strategy() is given
    assert make_strategy() is tf.distribute.get_strategy()


def test_an_unknown_name():
    with pytest.raises(cv.InputError, match="strategy must be one of auto, cpu, .*, got 'tpuu': choose one"):
        make_strategy("tpuu")
    with pytest.raises(cv.InputError, match="strategy must be one of .*, got 3: choose one"):
        make_strategy(3)


def test_no_gpu():
    with pytest.raises(cv.InputError, match="'gpu' needs a GPU that TensorFlow sees, got none"):
        make_strategy("gpu")


def test_no_tpu_says_what_was_looked_for():
    with pytest.raises(
        cv.InputError,
        match="needs a TPU, got none .*TPU_NAME and COLAB_TPU_ADDR in .*, .* TPU devices of this",
    ):
        make_strategy("tpu")


def test_no_tpu_at_the_address(monkeypatch):
    monkeypatch.setenv("TPU_NAME", "local")
    with pytest.raises(cv.InputError, match="needs a TPU that answers, got none at 'local'"):
        make_strategy("tpu")
    with pytest.raises(cv.InputError, match="got none at 'local'"):
        make_strategy("auto")


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (None, "got none: set it"),
        ("{", "got '{' .JSONDecodeError"),
        (json.dumps({"cluster": {}}), "KeyError: 'task'"),
        (json.dumps({"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}), "no worker 1"),
        (json.dumps({"cluster": {"worker": 3}, "task": {"type": "worker", "index": 0}}), "no worker 0"),
        (json.dumps([1]), "TypeError"),
    ],
)
def test_a_damaged_cluster_configuration(config, reason, monkeypatch):
    if config is not None:
        monkeypatch.setenv("TF_CONFIG", config)
        with pytest.raises(cv.InputError, match="TF_CONFIG"):
            make_strategy("auto")
    with pytest.raises(
        cv.InputError, match=f"TF_CONFIG in the environment to name the workers and this one, .*{reason}"
    ):
        make_strategy("multiworker")


def test_a_multiworker_strategy_made_too_late(monkeypatch):
    tf.zeros([1]) + 1
    cluster = {"cluster": {"worker": ["localhost:1", "localhost:2"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(cluster))
    with pytest.raises(
        cv.InputError, match="must be made before TensorFlow has run anything, .* call train first"
    ):
        make_strategy("multiworker")


def test_a_batch_that_cannot_be_split_equally():
    class Three:
        num_replicas_in_sync = 3

    check_batch("batch_size", 66, Three)
    with pytest.raises(
        cv.InputError, match="batch_size must be a multiple of .* 3 replicas, got 64: .* 63 or 66"
    ):
        check_batch("batch_size", 64, Three)
    with pytest.raises(cv.InputError, match="the size of a batch must be .* got 10: set it to 9 or 12"):
        distributed(tf.data.Dataset.from_tensors((tf.zeros([10, 2]), tf.zeros([10]))), Three)
    with pytest.raises(cv.InputError, match="got 2: set it to 3"):
        check_batch("batch_size", 2, Three)


def test_train_refuses_a_strategy_before_it_writes_anything(tiny_data, tmp_path):
    with pytest.raises(cv.InputError, match="strategy must be one of"):
        cv.train(tiny_data, tmp_path / "run", strategy="cloud")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["phrases, sampled", "visual, single label"])
def test_bfloat16_towers_keep_float32_where_it_matters(name):
    """A TPU's policy has bfloat16 convolutions, and float32 weights, normalised embeddings and losses."""
    stage = dict(stages())[name]
    with building(tf.distribute.OneDeviceStrategy("/cpu:0"), "mixed_bfloat16"):
        model = stage.compiled()
    assert keras.mixed_precision.global_policy().name == "float32"
    assert {weight.dtype for weight in model.trainable_weights} == {tf.float32}
    layers = {layer.name.split("_")[0]: layer for layer in model._flatten_layers()}
    assert layers["conv2d"].compute_dtype == "bfloat16"
    pixels, targets = next(iter(stage.batches()))
    assert model(pixels).dtype == tf.float32
    if name.startswith("phrases"):
        embeddings = model.phrase_generator(pixels)
        assert embeddings.dtype == tf.float32
        np.testing.assert_allclose(tf.norm(embeddings, axis=1), 1.0, atol=1e-5)
    batches = tf.data.Dataset.from_tensors((pixels, targets))
    first, last = (fit(model, batches.repeat(steps))["loss"] for steps in (1, 20))
    assert last < first
