"""Measures a training step and a prediction with the preset "paper" at full size; writes results/steps.json.

    python tools/benchmarks/steps.py [--batch 4] [--classes 1000000] [--parts phrase_step text_step ...]

Each part runs in a fresh process: a step of the phrase generator over many query classes, a step of the visual encoder,
a step of the text encoder, and the end-to-end model for one picture. Steps of the ConvNets run eagerly, because tracing
them takes longer. The first call is not timed. Memory is the kernel's peak (VmHWM).

`gflops_a_core_second` counts the multiplications and additions of convolutions and matrix products, three times the
forward ones for a step, per second of all cores; core seconds depend less on other load than clock seconds. `ctxvision
plan` uses these figures.
"""

import argparse
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras
from _retrieval.records import provenance
from build_prototypes import status

import ctxvision as cv
from ctxvision._files import read_json, write_json
from ctxvision.classifier.towers import new_visual_encoder
from ctxvision.context.text import ENCODER, TEXT_RATE
from ctxvision.context.towers import new_phrase_generator
from ctxvision.data.associations import association_batches
from ctxvision.training.costs import forward_flops

RESULTS = Path(__file__).parent / "results"
CONFIG = cv.Config.preset("paper")
QUERIES = 4


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--classes", type=int, default=1_000_000)
    names = ("phrase_step", "visual_step", "prediction", "text_step")
    parser.add_argument("--parts", nargs="+", choices=names, default=names)
    chosen = parser.parse_args()
    facts = provenance(os.cpu_count() or 1)
    rows = []
    for work, arguments in (
        (phrase_step, (chosen.batch, chosen.classes)),
        (visual_step, (chosen.batch,)),
        (prediction, ()),
        (text_step, ()),
    ):
        if work.__name__ not in chosen.parts:
            continue
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            rows.append({"what": work.__name__, **pool.apply(work, arguments), "provenance": facts})
        print(rows[-1], flush=True)
    file = RESULTS / "steps.json"
    kept = read_json(file)["rows"] if file.exists() else []
    rows = [row for row in kept if row["what"] not in chosen.parts] + rows
    write_json(file, {"settings": CONFIG.to_dict(), "rows": rows})


def phrase_step(batch: int, classes: int) -> dict[str, Any]:
    generator = new_phrase_generator(CONFIG.context)
    model = cv.QueryClassifier(generator, classes, CONFIG.context.phrase_scale)
    model.compile(keras.optimizers.AdamW(CONFIG.learning_rate), run_eagerly=True)
    queries = (classes ** np.random.default_rng(0).random((batch, QUERIES))).astype(np.int32) - 1
    flops = 3 * batch * forward_flops(generator.tower)
    facts = {"batch": batch, "classes": classes, "parameters": generator.count_params()}
    return {**facts, **measured(lambda: model.train_on_batch(pictures(batch), queries), flops)}


def visual_step(batch: int) -> dict[str, Any]:
    encoder = new_visual_encoder(CONFIG)
    pixels = keras.Input((CONFIG.image_size, CONFIG.image_size, 3))
    model = keras.Model(pixels, keras.layers.Dense(1000)(encoder(pixels)))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(CONFIG.learning_rate), loss, run_eagerly=True)
    flops = 3 * batch * forward_flops(encoder.tower)
    facts = {"batch": batch, "parameters": encoder.count_params()}
    return {**facts, **measured(lambda: model.train_on_batch(pictures(batch), np.zeros(batch)), flops)}


def prediction() -> dict[str, Any]:
    """Measures one picture with 1,000 phrases and labels in a compiled function."""
    generator, encoder = new_phrase_generator(CONFIG.context), new_visual_encoder(CONFIG)
    phrases = [f"phrase {i}" for i in range(1000)]
    table = cv.PhraseTable.from_arrays(phrases, np.random.default_rng(0).normal(size=(1000, 64)))
    words = cv.DualEncoderText(CONFIG.context.text_dim, **ENCODER)
    text = cv.PhraseEmbeddings(encoder=words, trainable=False)
    text.assign(words.ngrams(phrases))
    retrieval = cv.PrototypeRetrieval(CONFIG.context_phrases).index(table)
    fusion, pooling = cv.ContextFusion(1000), cv.ContextPooling("uniform")
    model = cv.ContextClassifier(generator, retrieval, text, encoder, fusion, phrases, pooling)
    flops = forward_flops(generator.tower) + forward_flops(encoder.tower)
    call = tf.function(model)
    facts = {"batch": 1, "parameters": model.count_params()}
    return {**facts, **measured(lambda: call(pictures(1))["probabilities"].numpy(), flops, times=10)}


def text_step() -> dict[str, Any]:
    phrases = [
        f"{a} {b}" for a in ["red", "blue", "green", "old", "new", "small", "large"] for b in range(300)
    ]
    encoder = cv.DualEncoderText(CONFIG.context.text_dim, **ENCODER)
    model = cv.SiameseText(encoder)
    model.compile(keras.optimizers.Adagrad(TEXT_RATE))
    numbers = np.arange(len(phrases), dtype=np.int32)
    batch = CONFIG.context.text_batch_size
    pairs = numbers // 2, numbers
    batches = iter(association_batches(*pairs, encoder.ngrams(phrases).ids, batch, 40, 0))
    step = model.make_train_function()
    return {"batch": batch, **measured(lambda: step(batches)["loss"].numpy(), None, times=30)}


def pictures(batch: int) -> tf.Tensor:
    return tf.random.stateless_uniform([batch, CONFIG.image_size, CONFIG.image_size, 3], [0, 1], 0, 255)


def measured(call: Callable[[], Any], flops: float | None, times: int = 1) -> dict[str, Any]:
    """Measures later calls: median clock and core seconds, and the process's peak memory in gigabytes."""
    before = status("VmRSS")
    call()
    seconds, cores = [], []
    for _ in range(times):
        start, cpu_start = time.perf_counter(), time.process_time()
        call()
        seconds.append(time.perf_counter() - start)
        cores.append(time.process_time() - cpu_start)
    busy = statistics.median(cores)
    rate = {} if flops is None else {"gflops_a_core_second": round(flops / busy / 1e9, 2)}
    peak = status("VmHWM")
    return {
        "seconds": round(statistics.median(seconds), 4),
        "core_seconds": round(busy, 4),
        **rate,
        "resident_before_gb": round(before / 1e9, 2),
        "peak_gb": round(peak / 1e9, 2),
    }


if __name__ == "__main__":
    main()
