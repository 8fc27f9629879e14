"""Asks a server for the labels and phrases of pictures, with only tensorflow-serving-api.

python python_client.py HOST:PORT IMAGE...
"""

import sys
from pathlib import Path

import grpc
import tensorflow as tf  # a dependency of tensorflow-serving-api; converts tensors
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc


def main(address: str, paths: list[str]) -> int:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "default"
    request.model_spec.signature_name = "serving_default"
    try:
        images = [Path(path).read_bytes() for path in paths]
    except OSError as error:
        print(f"{error.filename} cannot be read: {error.strerror}", file=sys.stderr)
        return 2
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(images, tf.string))

    # TensorFlow Serving sends large messages, but Python's gRPC refuses answers over 4 MB by default.
    with grpc.insecure_channel(address, [("grpc.max_receive_message_length", 64 * 2**20)]) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        try:
            response = stub.Predict(request, timeout=60)
        except grpc.RpcError as error:
            print(f"{address} answers {error.code().name}: {error.details()}", file=sys.stderr)
            return 1

    outputs = {name: tf.make_ndarray(value) for name, value in response.outputs.items()}
    for row, path in enumerate(paths):
        if not outputs["valid"][row]:
            print(f"{path}\tno picture")
            continue
        label, score = outputs["labels"][row, 0].decode(), outputs["scores"][row, 0]
        phrases = ", ".join(phrase.decode() for phrase in outputs["phrases"][row] if phrase)
        print(f"{path}\t{label}\t{score:.3f}\t{phrases}")
    return 0


if __name__ == "__main__":
    if len(sys.argv) < 3:
        print("usage: python python_client.py HOST:PORT IMAGE...", file=sys.stderr)
        sys.exit(2)
    sys.exit(main(sys.argv[1], sys.argv[2:]))
