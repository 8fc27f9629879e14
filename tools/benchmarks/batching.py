"""Measures the gain of batches for an export; writes results/batching.json, the source of export/batching.config.

    python tools/benchmarks/batching.py [DIR] [--seconds 5]

DIR is an export; without it the demo is trained first. Each row calls `serving_default` in this process for some
seconds: batches of 1 to 64 from one thread, and single pictures from several threads, like a server without batching.
Pictures are JPEGs of 256 × 256.

The rows determine the parameters. `max_batch_size` is the smallest batch within 5% of the best throughput.
`batch_timeout_micros` is the time of one picture alone, so waiting at most doubles it. `num_batch_threads` is the
number of cores. `max_enqueued_batches` is a second of work, beyond which requests are refused.
"""

import argparse
import datetime
import importlib.metadata
import os
import platform
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

import ctxvision as cv
from ctxvision._files import write_json
from ctxvision.serving.loading import LoadedExport, load_export
from ctxvision.training.versions import source_commit

RESULT = Path(__file__).parent / "results" / "batching.json"
BATCHES = (1, 2, 4, 8, 16, 32, 64)
THREADS = (2, 4, 8)
SIDE = 256

Row = dict[str, Any]


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("directory", metavar="DIR", nargs="?")
    parser.add_argument("--seconds", type=float, default=5.0, help="time of each row (default: %(default)s)")
    chosen = parser.parse_args(arguments)
    export = load_export(chosen.directory or cv.demo("runs/bench-demo").directory / "export")
    load = os.getloadavg()[0]
    rows = []
    for batch, threads in [*((batch, 1) for batch in BATCHES), *((1, threads) for threads in THREADS)]:
        rows.append({"batch": batch, "threads": threads, **measure(export, batch, threads, chosen.seconds)})
        print(rows[-1], flush=True)
    cores = len(os.sched_getaffinity(0))
    write_json(
        RESULT,
        {
            "date": datetime.date.today().isoformat(),
            "commit": source_commit(),
            "machine": f"{platform.machine()}, {cores} cores",
            "load_before": round(load, 2),
            "versions": {
                "python": platform.python_version(),
                **{name: importlib.metadata.version(name) for name in ("ctxvision", "numpy", "tensorflow")},
            },
            "picture": f"JPEG, {SIDE} x {SIDE}",
            "labels": export.signatures["serving_default"].structured_outputs["probabilities"].shape[1],
            "seconds_a_row": chosen.seconds,
            "rows": rows,
            "parameters": parameters(rows, cores),
        },
    )


def measure(export: LoadedExport, batch: int, threads: int, seconds: float) -> Row:
    """Measures pictures per second, and the median and 99th percentile of a call in milliseconds."""
    pictures = tf.constant(drawn_pictures(batch))
    times: list[float] = []

    def call(until: float) -> None:
        while time.perf_counter() < until:
            start = time.perf_counter()
            export.signatures["serving_default"](image_bytes=pictures)
            times.append(time.perf_counter() - start)

    call(time.perf_counter() + seconds / 10)  # warm-up
    times.clear()
    start = time.perf_counter()
    callers = [threading.Thread(target=call, args=(start + seconds,)) for _ in range(threads)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    elapsed = time.perf_counter() - start
    median, high = 1000 * np.percentile(times, [50, 99])
    return {
        "calls": len(times),
        "pictures_per_second": round(batch * len(times) / elapsed, 1),
        "p50_ms": round(float(median), 2),
        "p99_ms": round(float(high), 2),
    }


def drawn_pictures(number: int) -> list[bytes]:
    pictures = []
    for i in range(number):
        coarse = tf.random.stateless_uniform([8, 8, 3], [i, 0], 0, 255)
        pixels = tf.image.resize(coarse, [SIDE, SIDE])
        pictures.append(tf.io.encode_jpeg(tf.cast(pixels, tf.uint8)).numpy())
    return pictures


def parameters(rows: list[Row], cores: int) -> dict[str, int]:
    """Computes TF Serving's batching parameters from the rows with one thread."""
    alone = {row["batch"]: row for row in rows if row["threads"] == 1}
    best = max(row["pictures_per_second"] for row in alone.values())
    batch = min(size for size, row in alone.items() if row["pictures_per_second"] >= 0.95 * best)
    return {
        "max_batch_size": batch,
        "batch_timeout_micros": round(1000 * alone[1]["p50_ms"]),
        "num_batch_threads": cores,
        "max_enqueued_batches": max(1, round(alone[batch]["pictures_per_second"] / batch)),
    }


if __name__ == "__main__":
    main(sys.argv[1:])
