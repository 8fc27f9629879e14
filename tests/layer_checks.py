"""The checks that every layer of ctxvision must pass."""

import inspect
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from tests.fresh_process import run_fresh

TOLERANCE = 1e-6

RELOAD = """
import sys
import numpy as np
import tensorflow as tf

folder = sys.argv[1]
given = np.load(folder + "/given.npz")
model = tf.saved_model.load(folder + "/model")
outputs = [x.numpy() for x in model.call(*[tf.constant(x) for x in given.values()])]
np.savez(folder + "/found.npz", *[x.astype(bytes) if x.dtype == object else x for x in outputs])
"""


def check_layer(
    layer: keras.layers.Layer,
    inputs: tf.Tensor | Sequence[tf.Tensor],
    fresh_process_imports: Sequence[str] = ("tensorflow",),
) -> None:
    """Checks the config round trip, eager = graph, an unknown batch size, and a SavedModel in a fresh process.

    Args:
        layer: a layer that can be called.
        inputs: a tensor, or a list of tensors, of one batch size of 2 or more.
        fresh_process_imports: the only modules that the process which reloads the SavedModel imports.
    """
    expected = _arrays(layer(inputs))
    _check_config(layer)
    _check_equal(_arrays(tf.function(layer)(inputs)), expected, "tf.function")
    several = isinstance(inputs, (list, tuple))
    tensors = list(inputs) if several else [inputs]

    @tf.function(input_signature=[tf.TensorSpec([None, *x.shape[1:]], x.dtype) for x in tensors])
    def call(*batch):
        return _flat(layer(list(batch) if several else batch[0]))

    _check_equal(_arrays(call(*tensors)), expected, "an unknown batch size")
    first_row = _arrays(call(*[x[:1] for x in tensors]))
    _check_equal(first_row, [x[:1] for x in expected], "an unknown batch size, one row of it")
    _check_equal(_reloaded(layer, call, tensors, fresh_process_imports), expected, "a fresh process")


def _check_config(layer: keras.layers.Layer) -> None:
    config = layer.get_config()
    arguments = set(inspect.signature(type(layer).__init__).parameters) - {"self", "args", "kwargs"}
    for argument in arguments:
        assert hasattr(layer, argument), (
            f"{argument} is an argument of {type(layer).__name__} but no attribute"
        )
        assert argument in config, (
            f"{argument} is an argument of {type(layer).__name__} but not in its config"
        )
    again = type(layer).from_config(config).get_config()
    assert again == config, f"config of {type(layer).__name__} changed: {again} from {config}"


def _reloaded(layer: Any, call: Any, tensors: list[tf.Tensor], imports: Sequence[str]) -> list[np.ndarray]:
    with tempfile.TemporaryDirectory() as folder:
        module = tf.Module()
        module.layer, module.call = layer, call
        options = tf.saved_model.SaveOptions(namespace_whitelist=["Scann", "TFText"])
        tf.saved_model.save(module, f"{folder}/model", options=options)
        np.savez(f"{folder}/given.npz", *_arrays(tensors))
        done = run_fresh(RELOAD, [folder], imports)
        assert done.returncode == 0, done.stderr[-3000:]
        found = np.load(Path(folder) / "found.npz")
        return [found[f"arr_{i}"] for i in range(len(found.files))]


def _flat(outputs: Any) -> list[tf.Tensor]:
    return list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]


def _arrays(outputs: Any) -> list[np.ndarray]:
    """Turns strings into fixed-width bytes, which need no pickle."""
    arrays = [x.numpy() for x in _flat(outputs)]
    return [x.astype(bytes) if x.dtype == object else x for x in arrays]


def _check_equal(found: list[np.ndarray], expected: list[np.ndarray], where: str) -> None:
    assert len(found) == len(expected), f"{len(found)} outputs in {where} instead of {len(expected)}"
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape, f"shape {a.shape} in {where} instead of {b.shape}"
        if b.dtype.kind == "S":
            np.testing.assert_array_equal(a, b, err_msg=where)
        else:
            assert a.dtype == b.dtype, f"dtype {a.dtype} in {where} instead of {b.dtype}"
            np.testing.assert_allclose(a, b, atol=TOLERANCE, rtol=TOLERANCE, err_msg=where)
