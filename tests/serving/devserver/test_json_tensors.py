"""Tensors as TF Serving's JSON, including cases that no export of ctxvision has."""

import json

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.meta_graph_pb2 import TensorInfo
from tensorflow_serving.apis import predict_pb2

from ctxvision.serving.devserver.json_tensors import answer_json, fill_inputs, parse_json
from ctxvision.serving.devserver.prediction import RequestError


def response(**outputs):
    made = predict_pb2.PredictResponse()
    for key, value in outputs.items():
        made.outputs[key].CopyFrom(tf.make_tensor_proto(value))
    return made


def test_a_single_output_has_no_name_and_several_are_objects():
    assert answer_json(response(x=np.float32([[1, 2], [3, 4]])), True) == {
        "predictions": [[1.0, 2.0], [3.0, 4.0]]
    }
    assert answer_json(response(x=[1, 2]), False) == {"outputs": [1, 2]}
    two = response(x=[1, 2], y=[[True], [False]])
    assert answer_json(two, True) == {"predictions": [{"x": 1, "y": [True]}, {"x": 2, "y": [False]}]}
    assert answer_json(two, False) == {"outputs": {"x": [1, 2], "y": [[True], [False]]}}
    assert answer_json(response(x=np.float32(2.5)), False) == {"outputs": 2.5}


def test_strings_are_text_unless_their_name_ends_in_bytes():
    answer = answer_json(
        response(name=[["größe".encode(), b"\xff"]], thumbnail_bytes=[[b"\xff\x00", b""]]), True
    )
    assert answer == {
        "predictions": [{"name": ["größe", "\ufffd"], "thumbnail_bytes": [{"b64": "/wA="}, {"b64": ""}]}]
    }


def test_floats_have_the_digits_of_their_type():
    values = [0.1, 0.2, 1.0, 1e-7, 3.4e38, float("nan"), float("inf"), float("-inf")]
    written = json.dumps(answer_json(response(x=np.float32(values)), True))
    assert written == '{"predictions": [0.1, 0.2, 1.0, 1e-07, 3.4e+38, NaN, Infinity, -Infinity]}'
    exact = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    read = json.loads(json.dumps(answer_json(response(x=exact), True)))["predictions"]
    assert np.array_equal(np.float32(read), exact)


@pytest.mark.parametrize("outputs", [{"x": 1}, {"x": [1, 2], "y": [1]}, {"x": [1], "y": 1}])
def test_rows_need_outputs_of_one_batch_size(outputs):
    with pytest.raises(RequestError, match="outputs must have the same batch size for 'instances', got"):
        answer_json(response(**outputs), True)


def filled(document, **dtypes):
    request = predict_pb2.PredictRequest()
    inputs = {name: TensorInfo(dtype=dtype.as_datatype_enum) for name, dtype in dtypes.items()}
    fill_inputs(request, parse_json(json.dumps(document).encode()), inputs)
    return {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}


def test_rows_of_several_inputs():
    rows = [{"tag": "foo", "signal": [1, 2]}, {"signal": [3, 4], "tag": "bar"}]
    found = filled({"instances": rows}, tag=tf.string, signal=tf.int64)
    assert found["tag"].tolist() == [b"foo", b"bar"]
    assert (found["signal"].tolist(), found["signal"].dtype) == ([[1, 2], [3, 4]], np.int64)


def test_numbers_of_every_kind():
    found = filled(
        {"inputs": {"f": [1, 2.5, float("nan"), float("-inf")], "b": [True, False], "u": 2**63, "d": 1e300}},
        f=tf.float32, b=tf.bool, u=tf.uint64, d=tf.float64,
    )  # fmt: skip
    np.testing.assert_array_equal(found["f"], np.float32([1, 2.5, np.nan, -np.inf]))
    assert found["b"].tolist() == [True, False]
    assert (int(found["u"]), float(found["d"])) == (2**63, 1e300)


@pytest.mark.parametrize(
    ("value", "dtype", "match"),
    [
        (2**24, tf.float32, "without loss of precision"),
        (10**400, tf.float64, "without loss of precision"),
        (-1, tf.uint64, "is not of expected type: uint64"),
        (1.0, tf.int32, "is not of expected type: int32"),
        (1, tf.bool, "is not of expected type: bool"),
        ({"b64": "AA=="}, tf.float32, "is not of expected type: float32"),
        ({"b64": 1}, tf.string, "Missing named input: x"),
    ],
)
def test_values_that_do_not_fit(value, dtype, match):
    with pytest.raises(RequestError, match=match):
        filled({"inputs": value}, x=dtype)
