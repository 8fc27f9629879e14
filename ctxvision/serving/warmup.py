"""Writes the requests that a server answers before it calls a version available."""

from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import prediction_log_pb2

# The largest batch equals that of export/batching.config.
BATCHES = (1, 32)


def write_warmup(
    path: Path, signatures: Mapping[str, tf.types.experimental.GenericFunction], image_size: int
) -> None:
    """Writes a request for each signature at a batch of 1 and at the largest batch, without optional inputs.

    Args:
        path: `assets.extra/tf_serving_warmup_requests` of an export; its folder is created.
        signatures: the signatures by name.
        image_size: side S of the pictures in the requests.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for name, signature in signatures.items():
            specs, defaults = signature.input_signature, signature.function_type.parameters
            asked = [spec for spec in specs if not defaults[spec.name].optional]
            for batch in BATCHES:
                log = prediction_log_pb2.PredictionLog()
                request = log.predict_log.request
                request.model_spec.signature_name = name
                for spec in asked:
                    request.inputs[spec.name].CopyFrom(_example(spec, batch, image_size))
                writer.write(log.SerializeToString())


def _example(spec: tf.TensorSpec, batch: int, image_size: int) -> tensor_pb2.TensorProto:
    """Returns an input of grey pictures or of placeholder words."""
    if spec.name == "image_bytes":
        grey = tf.fill([image_size, image_size, 3], tf.constant(128, tf.uint8))
        return tf.make_tensor_proto([tf.io.encode_jpeg(grey).numpy()] * batch, tf.string)
    if spec.dtype == tf.string:
        return tf.make_tensor_proto(["labels"] * batch, tf.string)
    proto = tensor_pb2.TensorProto(dtype=spec.dtype.as_datatype_enum)
    for size in (batch, *(size or image_size for size in spec.shape[1:])):
        proto.tensor_shape.dim.add(size=size)
    # TensorFlow repeats the last value, so one value fills the tensor.
    (proto.int_val if spec.dtype == tf.uint8 else proto.float_val).append(128)
    return proto
