"""Measures build_prototypes on a generated stream and writes results/build_prototypes.json.

    python tools/benchmarks/build_prototypes.py [--pairs 20000000] [--queries 2000000] [--memory 2GB]

The stream is seeded, and each batch is generated when it is read. The frequency of queries falls like in a search log
(the n-th query has 1/n of the first one's frequency), each query has a language, and all queries occur. The table is
built in a fresh process that has imported TensorFlow; its peak of resident memory is the kernel's (VmHWM). A sample of
prototypes is compared with means in float64 by NumPy.
"""

import argparse
import datetime
import importlib.metadata
import multiprocessing
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import ctxvision
from ctxvision._files import write_json
from ctxvision.training.versions import source_commit
from ctxvision.vocabulary import PhraseTable, build_prototypes

RESULTS = Path(__file__).parent / "results"
DIM = 64
BATCH = 65_536
LANGUAGES = ("en", "es", "de", "ja")
STRIDE = 1_000_003  # a prime, so its multiples visit all queries
SAMPLE = 1000


def stream(pairs: int, queries: int, seed: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields batches of query numbers int64 [B] and embeddings float32 [B, DIM]."""
    rng = np.random.default_rng(seed)
    for start in range(0, pairs, BATCH):
        position = np.arange(start, min(start + BATCH, pairs))
        numbers = np.minimum(queries ** rng.random(len(position)), queries).astype(np.int64) - 1
        turn, rest = np.divmod(position, pairs // queries)
        numbers = np.where(rest == 0, turn * STRIDE % queries, numbers)
        yield numbers, rng.standard_normal((len(numbers), DIM), np.float32)


def named(
    batches: Iterator[tuple[np.ndarray, np.ndarray]],
) -> Iterator[tuple[list[str], np.ndarray, list[str]]]:
    """Adds phrases and languages to the batches of `stream`."""
    for numbers, embeddings in batches:
        ids = numbers.tolist()
        yield [phrase(i) for i in ids], embeddings, [LANGUAGES[i % len(LANGUAGES)] for i in ids]


def phrase(number: int) -> str:
    return f"search phrase {number}"


def build(pairs: int, queries: int, memory: str, out: str) -> dict[str, float]:
    """Builds a table in a fresh process; returns seconds, and resident megabytes before and at the peak."""
    import tensorflow  # noqa: F401  (processes that embed pictures hold it too)

    before = status("VmRSS")
    start = time.perf_counter()
    build_prototypes(named(stream(pairs, queries)), out, memory)
    return {
        "seconds": round(time.perf_counter() - start, 1),
        "resident_before_mb": round(before / 1e6),
        "peak_resident_mb": round(status("VmHWM") / 1e6),
    }


def status(name: str) -> int:
    """Reads a field of /proc/self/status in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def compare(pairs: int, queries: int, table: PhraseTable) -> float:
    """Compares a sample of prototypes with float64 means; returns the largest difference, and checks the counts."""
    sample = np.unique(
        np.r_[:10, queries - 10 : queries, np.random.default_rng(1).integers(0, queries, SAMPLE)]
    )
    place = np.full(queries, -1)
    place[sample] = np.arange(len(sample))
    sums, counts = np.zeros((len(sample), DIM)), np.zeros(len(sample), np.int64)
    for numbers, embeddings in stream(pairs, queries):
        rows = np.flatnonzero(place[numbers] >= 0)
        values = embeddings[rows].astype(np.float64)
        np.add.at(sums, place[numbers[rows]], values / np.linalg.norm(values, axis=1, keepdims=True))
        np.add.at(counts, place[numbers[rows]], 1)
    ids = table.ids([phrase(i) for i in sample.tolist()])
    np.testing.assert_array_equal(table.counts[ids], counts)
    return float(np.abs(table.prototypes[ids] - sums / np.linalg.norm(sums, axis=1, keepdims=True)).max())


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=20_000_000)
    parser.add_argument("--queries", type=int, default=2_000_000)
    parser.add_argument("--memory", default="2GB")
    given = parser.parse_args(arguments)
    start = time.perf_counter()
    for _ in named(stream(given.pairs, given.queries)):
        pass
    generating = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as folder:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            figures = pool.apply(build, (given.pairs, given.queries, given.memory, f"{folder}/table"))
        table = PhraseTable.load(f"{folder}/table")
        assert len(table) == given.queries and int(table.counts.sum()) == given.pairs
        difference = compare(given.pairs, given.queries, table)
    result = {
        "date": datetime.date.today().isoformat(),
        "commit": source_commit(),
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        "versions": {
            "python": platform.python_version(),
            "ctxvision": ctxvision.__version__,
            "numpy": np.__version__,
            "tensorflow": importlib.metadata.version("tensorflow"),
        },
        "pairs": given.pairs,
        "queries": given.queries,
        "dim": DIM,
        "memory": given.memory,
        **figures,
        "seconds_of_making_the_stream": round(generating, 1),
        "pairs_per_second": round(given.pairs / figures["seconds"]),
        "sampled_queries": SAMPLE,
        "max_abs_difference": difference,
    }
    write_json(RESULTS / "build_prototypes.json", result)
    for name, value in result.items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main(sys.argv[1:])
