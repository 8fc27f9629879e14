"""Answers an export's requests by a run's model in Python; verify.py starts this program with --run.

    python export/_verify/parity.py RUN CTXVISION.json GIVEN.npz OUT.npz

CTXVISION.json is the export's, which tells how to build the model. The arrays of GIVEN and OUT are named
SIGNATURE/TENSOR.
"""

import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

import ctxvision
from ctxvision.data import decode_picture
from ctxvision.serving.signatures import build_signatures


def main(run: str, description: str, given: str, out: str) -> None:
    inputs: dict[str, dict[str, np.ndarray]] = {}
    for key, value in np.load(given, allow_pickle=True).items():
        signature, _, name = key.partition("/")
        inputs.setdefault(signature, {})[name] = value
    export = json.loads(Path(description).read_text(encoding="utf-8"))
    quantize = export.get("quantized", {}).get("tables")
    model = ctxvision.Run(run).build_classifier(export["retrieval"], quantize)
    signatures = build_signatures(model, with_text="tensorflow_text" in export["needs"]).signatures
    answers = {name: signatures[name](**tensors(given)) for name, given in inputs.items()}
    # The model itself answers these, not the functions that the export was made of.
    for name, pixels in pixels_of(inputs, model.image_size).items():
        found = model(pixels)
        answers[name].update({key: found[key] for key in ("probabilities", "phrases", "phrase_scores")})
    np.savez(
        out, **{f"{name}/{key}": value.numpy() for name, of in answers.items() for key, value in of.items()}
    )


def tensors(given: dict[str, np.ndarray]) -> dict[str, tf.Tensor]:
    return {
        key: tf.constant(value, tf.string if value.dtype == object else None) for key, value in given.items()
    }


def pixels_of(inputs: dict[str, dict[str, np.ndarray]], size: int) -> dict[str, np.ndarray]:
    decoded = [decode_picture(picture, size) for picture in inputs["serving_default"]["image_bytes"]]
    return {
        "serving_default": np.stack(decoded),
        **{name: inputs[name]["pixels"] for name in ("pixels", "pixels_float32")},
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
