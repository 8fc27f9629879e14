"""Measures the embedded server on this machine; writes results/serving.json.

    python tools/benchmarks/serving.py [EXPORT] [--parts throughput latency ...] [--seconds 20] [--requests 20000]

EXPORT is the folder of an export; the default has random weights on two small ConvNets. Server and clients are
processes of this machine and share its cores. Requests are prepared before the clock starts, and their number or time
is bounded. Parts:

    throughput  batches of 8 from callers without pause, in turns with threads that call the SavedModel in their own
                process; `times_in_process` is the median over rounds of the ratio of both rates
    latency     batches of 1 at even intervals, at 70% of the rate that callers without pause just reached; a latency
                counts from the time at which its request was due
    memory      resident memory after a tenth of the requests and after all of them
    batches     one caller, batches of 1 to 64
    swaps       versions replaced under load: requests that failed or mixed versions
    hostile     truncated, flipped, lying, large and random inputs: wrong answers

A new run replaces only its own parts.
"""

import argparse
import io
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from _retrieval.records import provenance
from _serving import hostile
from _serving.load import closed_loop, for_seconds, open_loop, predict_request
from _serving.process import ServerProcess
from _serving.swaps import load_during, place, swap
from PIL import Image

from ctxvision._files import read_json, write_json

RESULTS = Path(__file__).parent / "results" / "serving.json"
BATCH = 8
BATCHES = (1, 2, 4, 8, 16, 32, 64)
CALLERS = 4
ROUNDS = 3
SHARE_OF_CAPACITY = 0.7
SIDE = 256  # pixels of the pictures' sides
LABELS = (("even cat", "even dog", "even bird"), ("odd cat", "odd dog", "odd bird"))

Figures = dict[str, Any]


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("export", nargs="?", help="default: random weights on two small ConvNets")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=[*PARTS], metavar="PART")
    parser.add_argument("--seconds", type=float, default=20, help="time of each load (default: %(default)s)")
    parser.add_argument("--requests", type=int, default=20_000, help="for memory (default: %(default)s)")
    parser.add_argument("--swaps", type=int, default=50, help="versions (default: %(default)s)")
    parser.add_argument("--hostile", type=int, default=10_000, help="inputs (default: %(default)s)")
    chosen = parser.parse_args(arguments)
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    facts = provenance(CALLERS)
    with tempfile.TemporaryDirectory() as folder:
        export = Path(chosen.export or in_child(small_export, Path(folder) / "small", LABELS[0])).resolve()
        for part in chosen.parts:
            directory = Path(folder) / part
            directory.mkdir()
            place(export, directory, 1)
            figures = PARTS[part](directory, chosen)
            print(f"{part}: {json.dumps(figures)}", flush=True)
            stored = read_json(RESULTS) if RESULTS.exists() else {}
            name = "small, random weights" if chosen.export is None else export.parent.parent.name
            write_json(RESULTS, {**stored, part: {"export": name, **figures, "provenance": facts}})


def small_export(directory: Path, labels: tuple[str, ...]) -> Path:
    """Writes an export of an untrained classifier with 1,000 phrases."""
    import ctxvision as cv

    rng = np.random.default_rng(0)
    phrases, encoder = [f"phrase {i}" for i in range(1000)], cv.DualEncoderText(character_ngrams=32)
    table = cv.PhraseTable.from_arrays(phrases, rng.normal(size=(1000, 64)))
    text = cv.PhraseEmbeddings(encoder=encoder, trainable=False)
    text.assign(encoder.ngrams(phrases))
    model = cv.ContextClassifier(
        cv.PhraseGenerator("resnet_mini"),
        cv.PrototypeRetrieval(10, "ivf").index(table),
        text,
        cv.VisualEncoder("resnet_mini"),
        cv.ContextFusion(len(labels)),
        list(labels),
    )
    return cv.export_saved_model(model, directory / "1")


def throughput(directory: Path, chosen: argparse.Namespace) -> Figures:
    pictures = some_pictures(BATCH)
    seconds = chosen.seconds / ROUNDS
    served, in_process, failures = [], [], 0
    with ServerProcess(directory) as server:
        for _ in range(ROUNDS):
            load = closed_loop(server.address, predict_request(pictures), CALLERS, for_seconds(seconds))
            failures += len(load.failures)
            served.append(BATCH * load.rate)
            in_process.append(BATCH * in_child(called, directory / "1", pictures, seconds))
    return {
        "batch": BATCH,
        "callers": CALLERS,
        "failures": failures,
        "pictures_per_second": rounded(served),
        "pictures_per_second_in_process": rounded(in_process),
        "times_in_process": round(statistics.median(a / b for a, b in zip(served, in_process)), 3),
    }


def called(version: Path, pictures: list[bytes], seconds: float) -> float:
    """Measures calls per second of a SavedModel's signature with `CALLERS` threads of this process."""
    import tensorflow as tf

    signature = tf.saved_model.load(str(version)).signatures["serving_default"]
    batch = tf.constant(pictures)
    signature(image_bytes=batch)
    done = [0] * CALLERS
    go_on = for_seconds(seconds)

    def work(caller: int) -> None:
        while go_on(0):
            {key: value.numpy() for key, value in signature(image_bytes=batch).items()}
            done[caller] += 1

    threads = [threading.Thread(target=work, args=(caller,)) for caller in range(CALLERS)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / (time.perf_counter() - start)


def latency(directory: Path, chosen: argparse.Namespace) -> Figures:
    request = predict_request(some_pictures(1))
    with ServerProcess(directory) as server:
        capacity = closed_loop(server.address, request, CALLERS, for_seconds(chosen.seconds)).rate
        load = open_loop(server.address, request, SHARE_OF_CAPACITY * capacity, chosen.seconds)
    p50, p90, p99 = (load.milliseconds(percent) for percent in (50, 90, 99))
    return {
        "requests_per_second_at_most": round(capacity, 1),
        "requests_per_second": round(SHARE_OF_CAPACITY * capacity, 1),
        "requests": len(load.latencies),
        "failures": len(load.failures),
        "milliseconds": {"p50": round(p50, 2), "p90": round(p90, 2), "p99": round(p99, 2)},
        "p99_over_p50": round(p99 / p50, 2),
    }


def memory(directory: Path, chosen: argparse.Namespace) -> Figures:
    request, tenth = predict_request(some_pictures(1)), chosen.requests // 10
    with ServerProcess(directory) as server:
        first = closed_loop(server.address, request, CALLERS, lambda begun: begun < tenth)
        before = server.memory()
        rest = closed_loop(server.address, request, CALLERS, lambda begun: begun < chosen.requests - tenth)
        after = server.memory()
    return {
        "requests": len(first.latencies) + len(rest.latencies),
        "failures": len(first.failures) + len(rest.failures),
        "megabytes": [round(before / 2**20, 1), round(after / 2**20, 1)],
        "growth": round(after / before - 1, 4),
    }


def batches(directory: Path, chosen: argparse.Namespace) -> Figures:
    figures = []
    with ServerProcess(directory) as server:
        for batch in BATCHES:
            request = predict_request(some_pictures(batch))
            load = closed_loop(server.address, request, 1, for_seconds(chosen.seconds / len(BATCHES)))
            figures.append(
                {
                    "batch": batch,
                    "failures": len(load.failures),
                    "pictures_per_second": round(batch * load.rate, 1),
                    "milliseconds": {
                        "p50": round(load.milliseconds(50), 2),
                        "p99": round(load.milliseconds(99), 2),
                    },
                }
            )
    return {"callers": 1, "by_batch": figures}


def swaps(directory: Path, chosen: argparse.Namespace) -> Figures:
    """Measures swaps between two small exports whose labels differ, so that an answer shows its export."""
    with tempfile.TemporaryDirectory() as folder:
        exports = [in_child(small_export, Path(folder) / str(i), labels) for i, labels in enumerate(LABELS)]
        model = directory / "swapped"
        model.mkdir()
        place(exports[1], model, 1)
        with ServerProcess(model) as server:
            load = load_during(
                lambda: swap(server.address, model, exports, chosen.swaps),
                server.address,
                [set(labels) for labels in LABELS],
                some_pictures(BATCH),
                CALLERS,
            )
            return {
                "swaps": chosen.swaps,
                "requests": len(load.latencies),
                "failures": len(load.failures),
                "first_failures": load.failures[:5],
                "megabytes": round(server.memory() / 2**20, 1),
                "megabytes_at_most": round(server.memory(peak=True) / 2**20, 1),
            }


def hostile_inputs(directory: Path, chosen: argparse.Namespace) -> Figures:
    with ServerProcess(directory) as server:
        before = server.memory()
        verdicts = hostile.attack(server.address, chosen.hostile)
        return {
            "inputs": sum(verdicts.counts.values()),
            "wrong": len(verdicts.wrong),
            "first_wrong": verdicts.wrong[:5],
            "alive": server.alive,
            "answers": dict(sorted(verdicts.counts.items())),
            "megabytes": [round(before / 2**20, 1), round(server.memory() / 2**20, 1)],
            "megabytes_at_most": round(server.memory(peak=True) / 2**20, 1),
        }


PARTS: dict[str, Callable[[Path, argparse.Namespace], Figures]] = {
    "throughput": throughput,
    "latency": latency,
    "memory": memory,
    "batches": batches,
    "swaps": swaps,
    "hostile": hostile_inputs,
}


def some_pictures(number: int) -> list[bytes]:
    """Makes JPEGs of coarse random colours, always the same."""
    rng, encoded = np.random.default_rng(0), []
    for _ in range(number):
        file = io.BytesIO()
        coarse = Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8))
        coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(file, "JPEG")
        encoded.append(file.getvalue())
    return encoded


def rounded(values: list[float]) -> list[float]:
    return [round(value, 1) for value in values]


def in_child(function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls a function in a fresh process, whose memory is freed afterwards."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=spawn) as pool:
        return pool.submit(function, *arguments).result()


if __name__ == "__main__":
    main(sys.argv[1:])
