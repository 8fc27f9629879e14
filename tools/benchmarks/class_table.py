"""Measures a training step of QueryClassifier for few and many query classes; writes results/class_table.json.

    python tools/benchmarks/class_table.py [--classes 10000 1000000 5000000] [--steps 200] [--dtype float32]

The backbone is a linear layer, so the class table dominates. Batches are the same at every size except for the numbers
of the queries, whose frequency falls like in a search log over all classes. Steps are timed in one process in turns,
one of each size after another. Memory is measured in a fresh process per size: the kernel's resident set before the
table is made, after a few steps, and at its peak (VmHWM).
"""

import argparse
import importlib.metadata
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
from ctxvision._files import write_json

RESULTS = Path(__file__).parent / "results"
BATCH, QUERIES, SIZE, SAMPLED = 256, 4, 16, 512
BATCHES = 16
WARM_UP = 20


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--classes", type=int, nargs="+", default=[10_000, 1_000_000, 5_000_000])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--dtype", nargs="+", default=["float32", "float16"])
    chosen = parser.parse_args()
    facts = provenance(os.cpu_count() or 1)
    kinds = [(dtype, classes) for dtype in chosen.dtype for classes in chosen.classes]
    rows = [
        {"dtype": dtype, "classes": classes, **in_a_fresh_process(classes, dtype)} for dtype, classes in kinds
    ]
    for row, milliseconds in zip(rows, in_turns([one_step(c, d) for d, c in kinds], chosen.steps)):
        row["step_ms"] = round(statistics.median(milliseconds), 3)
        least = next(r["step_ms"] for r in rows if r["dtype"] == row["dtype"])
        row["times_the_first"] = round(row["step_ms"] / least, 3)
        print(row, flush=True)
    shape = {
        "batch": BATCH,
        "queries_a_picture": QUERIES,
        "sampled": SAMPLED,
        "dim": 64,
        "steps": chosen.steps,
    }
    facts["versions"]["tf_keras"] = importlib.metadata.version("tf_keras")
    write_json(RESULTS / "class_table.json", {**facts, **shape, "rows": rows})


def one_step(classes: int, dtype: str) -> Callable[[], Any]:
    """Makes the compiled and warm step that `fit` runs for a batch."""
    pixels = keras.Input((SIZE, SIZE, 3))
    tower = keras.Model(pixels, keras.layers.Dense(64)(keras.layers.Flatten()(pixels)))
    model = cv.QueryClassifier(cv.PhraseGenerator(tower), classes, num_sampled=SAMPLED, table_dtype=dtype)
    model.compile(keras.optimizers.AdamW(1e-3))
    rng = np.random.default_rng(0)
    pictures = rng.uniform(0, 255, (BATCHES, BATCH, SIZE, SIZE, 3)).astype(np.float32)
    queries = (classes ** rng.random((BATCHES, BATCH, QUERIES))).astype(np.int32) - 1
    batches = iter(tf.data.Dataset.from_tensor_slices((pictures, queries)).repeat())
    step = model.make_train_function()
    for _ in range(WARM_UP):
        step(batches)
    return lambda: step(batches)


def in_turns(steps: list[Callable[[], Any]], turns: int) -> list[list[float]]:
    """Times the steps in turns; returns the milliseconds of each."""
    found: list[list[float]] = [[] for _ in steps]
    for _ in range(turns):
        for step, times in zip(steps, found):
            start = time.perf_counter()
            step()["loss"].numpy()
            times.append(1000 * (time.perf_counter() - start))
    return found


def memory(classes: int, dtype: str) -> dict[str, float]:
    """Measures this process's memory in megabytes; `table_mb` is the computed size of rows and optimizer state."""
    one_step(1000, dtype)  # allocates what TensorFlow needs for any table
    before = status("VmRSS")
    step = one_step(classes, dtype)
    step()
    size = classes * (64 * np.dtype(dtype).itemsize + 4)
    return {
        "table_mb": round(size / 1e6, 1),
        "grown_mb": round((status("VmRSS") - before) / 1e6, 1),
        "peak_grown_mb": round((status("VmHWM") - before) / 1e6, 1),
    }


def in_a_fresh_process(classes: int, dtype: str) -> dict[str, float]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(memory, (classes, dtype))


if __name__ == "__main__":
    main()
