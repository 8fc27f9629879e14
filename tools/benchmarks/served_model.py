"""Measures the cost of context beside the two ConvNets in one SavedModel; writes results/served_model.json.

    python tools/benchmarks/served_model.py [--phrases 1000000] [--backbones resnet101 inception_v3] [--repeats 50]

The towers have random weights and the prototypes are random clusters, which does not affect time. The inputs are
encoded JPEGs. The export is loaded by tensorflow. Its `serving_default` is timed in turns with graphs that stop
earlier: after decoding, after the two towers (the baseline), after retrieval, after the phrases' text embeddings, after
the head. The time of a phase is the difference between the medians after and before it.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import tensorflow as tf
from _retrieval.records import provenance
from _retrieval.rows import synthetic_rows

import ctxvision as cv
from ctxvision._files import write_json
from ctxvision.context.text import ENCODER
from ctxvision.serving.loading import load_export
from ctxvision.serving.signatures import decode_pictures

RESULTS = Path(__file__).parent / "results" / "served_model.json"
BATCHES = (1, 8)
LABELS = 1000
TEXT_DIM = 200
PHASES = ("decode", "towers", "retrieval", "context", "head", "serving_default")


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--phrases", type=int, default=1_000_000)
    parser.add_argument("--backbones", nargs=2, default=["resnet101", "inception_v3"], metavar="NAME")
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--quantize", choices=("float16",), help="dtype of the tables")
    chosen = parser.parse_args(arguments)
    model = classifier(chosen.phrases, chosen.backbones, chosen.quantize)
    with tempfile.TemporaryDirectory() as folder:
        cv.export_saved_model(model, Path(folder) / "whole" / "1")
        save_phases(model, Path(folder) / "phases")
        whole = load_export(Path(folder) / "whole")
        phases = tf.saved_model.load(str(Path(folder) / "phases"))
        functions = {**phases.signatures, "serving_default": whole.signatures["serving_default"]}
        records = []
        for batch in BATCHES:
            milliseconds = measured(functions, batch, chosen.repeats)
            before = [0.0, *(milliseconds[phase] for phase in PHASES)]
            record: dict[str, Any] = {"batch": batch, "milliseconds": milliseconds}
            record["of_phase"] = {
                phase: milliseconds[phase] - before[place] for place, phase in enumerate(PHASES)
            }
            record["times_towers"] = milliseconds["serving_default"] / milliseconds["towers"]
            records.append(record)
            print(record, flush=True)
    facts = {"phrases": chosen.phrases, "backbones": chosen.backbones, "quantize": chosen.quantize}
    write_json(RESULTS, {**provenance(0), **facts, "repeats": chosen.repeats, "records": records})


def classifier(phrases: int, backbones: list[str], quantize: str | None) -> cv.ContextClassifier:
    """Makes a classifier of two large towers and a vocabulary of random phrases in clusters."""
    prototypes = np.concatenate([*synthetic_rows(phrases)])
    table = cv.PhraseTable.from_arrays([f"phrase {i}" for i in range(phrases)], prototypes)
    encoder = cv.DualEncoderText(TEXT_DIM, **ENCODER)
    text = cv.PhraseEmbeddings(encoder=encoder, name="phrase_embeddings", trainable=False)
    text.assign(encoder.ngrams([*table.phrases]))
    return cv.ContextClassifier(
        cv.PhraseGenerator(backbones[0], name="phrase_generator"),
        cv.PrototypeRetrieval(10, "ivf", name="prototype_retrieval").index(table, dtype=quantize),
        text,
        cv.VisualEncoder(backbones[1], name="visual_encoder"),
        cv.ContextFusion(LABELS, name="context_fusion"),
        [f"label {i}" for i in range(LABELS)],
    )


def save_phases(model: cv.ContextClassifier, folder: Path) -> None:
    """Saves graphs that stop after each phase."""
    spec = [tf.TensorSpec([None], tf.string, name="image_bytes")]

    def up_to(phase: int) -> Any:
        @tf.function(input_signature=spec, autograph=False)
        def answer(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
            pixels, _ = decode_pictures(image_bytes, model.image_size)
            outputs = {"pixels": tf.reduce_sum(tf.cast(pixels[:, 0], tf.int32))}
            if phase >= 1:
                queries = model.phrase_generator(pixels, training=False)
                visual = model.visual_encoder(pixels, training=False)
                outputs = {"queries": queries, "visual": visual}
            if phase >= 2:
                ids, scores = model.retrieval.search(queries)
                outputs = {**outputs, "ids": ids, "scores": scores}
            if phase >= 3:
                context = model.pooling([model.phrase_embeddings(ids), scores])
                outputs["context"] = context
            if phase >= 4:
                outputs = {"probabilities": model.fuse(visual, context, queries), "ids": ids}
            return outputs

        return answer

    functions = {phase: up_to(number) for number, phase in enumerate(PHASES[:-1])}
    module = tf.Module()
    module.parts = [v for f in functions.values() for v in f.get_concrete_function().graph.variables]
    tf.saved_model.save(module, str(folder), signatures=functions)


def measured(functions: dict[str, Any], batch: int, repeats: int) -> dict[str, float]:
    """Measures the median milliseconds of each function, called in turns."""
    rng = np.random.default_rng(2)
    jpegs = []
    for _ in range(batch):
        coarse = rng.integers(0, 256, (8, 10, 3), np.uint8)
        picture = tf.cast(tf.image.resize(coarse, [480, 640], "bicubic"), tf.uint8)
        jpegs.append(tf.io.encode_jpeg(picture).numpy())
    image_bytes = tf.constant(jpegs)
    times: dict[str, list[float]] = {phase: [] for phase in PHASES}
    for turn in range(repeats + 2):
        for phase in PHASES:
            start = time.perf_counter()
            answer = functions[phase](image_bytes=image_bytes)
            for value in answer.values():
                value.numpy()
            if turn >= 2:  # the first calls build what later calls reuse
                times[phase].append(1000 * (time.perf_counter() - start))
    return {phase: median(values) for phase, values in times.items()}


if __name__ == "__main__":
    main(sys.argv[1:])
