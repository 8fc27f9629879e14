"""Compares the retrieval backends with other libraries; writes results/retrieval.json, and retrieval.png with --plot.

    python tools/benchmarks/retrieval.py [--rows 100000 1000000 10000000] [--run RUN] [--methods ivf scann ...]
    python tools/benchmarks/retrieval.py --plot [--rows 1000000] [--run RUN]

Rows are clustered synthetic directions. With a trained run, rows are embeddings of its `web` pictures, augmented as in
training in as many passes as needed, and queries are its `val` and `test` pictures without augmentation. Every
approximate method is tuned to the cheapest setting that finds 0.95 of the 3 nearest rows of the tuning queries, and
measured with other queries.

Each index is built in one process and searched in another. Searches are timed in turns with those of the baseline,
TensorFlow's matmul and top_k in a SavedModel, in a third process; `times_baseline` is the median over the rounds.

Bytes per row are those of the index, without phrases. Resident gigabytes are the kernel's peak (VmHWM) of the process
that builds, tunes and exports, and of the process that loads and searches. A new run replaces only its own records.
"""

import argparse
import importlib.util
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from _retrieval import records
from _retrieval.build import BASELINE, METHODS, SAME_LISTS, build
from _retrieval.plot import draw
from _retrieval.rows import prepare
from _retrieval.turns import Server, ServerDied, take_turns

from ctxvision._files import read_json

RESULTS = Path(__file__).parent / "results"
BATCHES = (1, 8, 32, 256)
BATCHES_OF_OTHER_SETTINGS = (1, 8, 32)
MOST_BASELINE_BYTES = 4 << 30  # for scores
MOST_ROWS_OF_GRAPHS = 2_000_000
OVERHEAD = "tensorflow-overhead"
SHOWN = (
    "batch",
    "recall_at_3",
    "recall_at_10",
    "milliseconds",
    "times_baseline",
    "bytes_per_row",
    "settings",
)
PACKAGES = {"faiss": "faiss-cpu", "hnswlib": "hnswlib", "scann": "scann"}


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", help="default: 100000, or 1000000 for --plot")
    parser.add_argument(
        "--run", help="a trained run whose pictures give rows and queries; default: synthetic rows"
    )
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=[*METHODS], metavar="METHOD")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cache", help="folder that keeps rows and embeddings for later runs")
    parser.add_argument("--plot", action="store_true", help="draw stored results, measure nothing")
    given = parser.parse_args(arguments)
    data = data_name(given.run)
    if given.plot:
        require({"matplotlib": "matplotlib"})
        rows = given.rows[0] if given.rows else 1_000_000
        found = [
            r for r in records.load(RESULTS / "retrieval.json") if (r["data"], r["rows"]) == (data, rows)
        ]
        if not found:
            raise SystemExit(
                f"rows must have been measured before --plot, got {rows} of {data}: run without --plot first."
            )
        draw(found, data, rows, RESULTS / "retrieval.png")
        return
    require({m: p for m, p in PACKAGES.items() if any(name.startswith(m) for name in given.methods)})
    os.environ.update(
        dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(given.threads)),
        TF_CPP_MIN_LOG_LEVEL="3",
    )
    with ExitStack() as stack:
        cache = Path(given.cache or stack.enter_context(tempfile.TemporaryDirectory()))
        cache.mkdir(parents=True, exist_ok=True)
        for rows in given.rows or [100_000]:
            folder = cache / f"{data}-{rows}"
            if not folder.exists():
                print(f"{data}, {rows:,} rows: preparing", flush=True)
                in_child(prepare, folder, rows, given.run, cache / f"{data}-embeddings.npy")
            measure(data, rows, folder, given.methods, given.threads)


def data_name(run: str | None) -> str:
    if run is None:
        return "synthetic"
    import ctxvision as cv

    return cv.Run(run).data.name


def require(packages: dict[str, str]) -> None:
    absent = [package for module, package in packages.items() if importlib.util.find_spec(module) is None]
    if absent:
        raise SystemExit(f"retrieval.py needs {', '.join(absent)}: pip install 'ctxvision[bench]'.")


def in_child(function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls a function in a fresh process."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=spawn) as pool:
        return pool.submit(function, *arguments).result()


def measure(data: str, rows: int, folder: Path, methods: list[str], threads: int) -> None:
    """Measures methods one after another, and stores each result at once."""
    facts = records.provenance(threads)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        place = Path(temporary) / BASELINE
        place.mkdir()
        base_facts = in_child(build, BASELINE, folder, place, threads, None)
        for method in methods:
            key = {"data": data, "rows": rows, "method": method}
            print(f"{data}, {rows:,} rows: {method}", flush=True)
            found = [{**key, **record} for record in part(key, folder, place, base_facts, threads)]
            if method == BASELINE:
                found += [
                    {**key, "method": OVERHEAD, **record} for record in overhead(folder, place, threads)
                ]
            records.save(RESULTS / "retrieval.json", found, facts)
            show(found)


def part(
    key: dict[str, Any], data: Path, base: Path, base_facts: dict[str, Any], threads: int
) -> Iterator[records.Record]:
    """Yields the records of a method, or a record that tells why the method is skipped."""
    method, rows = key["method"], key["rows"]
    if "hnsw" in method and rows > MOST_ROWS_OF_GRAPHS:
        yield {"skipped": f"a graph over more than {MOST_ROWS_OF_GRAPHS:,} rows takes hours to build"}
        return
    lists = lists_of_ivf(key) if method == SAME_LISTS else None
    if method == SAME_LISTS and lists is None:
        yield {"skipped": "ivf has not been measured on these rows, or has no lists"}
        return
    with tempfile.TemporaryDirectory(dir=base.parent) as index:
        try:
            if method == BASELINE:
                yield from searched(key, data, base, base, base_facts, threads)
            else:
                facts = in_child(build, method, data, Path(index), threads, lists)
                yield from searched(key, data, Path(index), base, facts, threads)
        except (BrokenProcessPool, MemoryError, ServerDied) as error:
            print(error, file=sys.stderr)
            yield {"skipped": f"its process ended, for example for lack of memory ({str(error)[:200]})"}


def lists_of_ivf(key: dict[str, Any]) -> int | None:
    for record in records.load(RESULTS / "retrieval.json"):
        if record["method"] == "ivf" and all(record[name] == key[name] for name in ("data", "rows")):
            return record.get("settings", {}).get("num_lists")
    return None


def searched(
    key: dict[str, Any], data: Path, index: Path, base: Path, facts: dict[str, Any], threads: int
) -> list[records.Record]:
    """Measures all settings and batch sizes of an index."""
    method, queries = key["method"], data / "measuring.npy"
    nearest = np.load(data / "measuring-nearest.npy")
    settings = [{}] if method == BASELINE else read_json(index / "settings.json")
    measured: list[records.Record] = []
    with ExitStack() as stack:
        server = stack.enter_context(Server(method, index, queries, threads))
        baseline = None
        if method != BASELINE:
            baseline = stack.enter_context(Server(BASELINE, base, queries, threads))
        for number, setting in enumerate(settings):
            ids = np.array(server.ask("find", setting=number))
            recalls = {f"recall_at_{k}": round(records.recall(ids, nearest, k), 4) for k in (3, 10)}
            shared = {"settings": setting, "chosen": number == 0, "queries": len(ids), **recalls}
            for batch in BATCHES_OF_OTHER_SETTINGS if number else BATCHES:
                scores = 4 * batch * key["rows"]
                bearable = scores <= MOST_BASELINE_BYTES
                if method == BASELINE and not bearable:
                    measured.append({"batch": batch, "skipped": f"scores would take {scores / 1e9:.1f} GB"})
                    continue
                milliseconds, ratio = take_turns(server, baseline if bearable else None, number, batch)
                ratio = 1.0 if method == BASELINE else ratio
                measured.append({**shared, "batch": batch, **speed(milliseconds, batch, ratio)})
        peak = {"serving_peak_gb": round(server.ask("peak") / 1e9, 3)}
    return [record if "skipped" in record else {**record, **facts, **peak} for record in measured]


def overhead(data: Path, base: Path, threads: int) -> list[records.Record]:
    """Measures a TensorFlow function that does nothing, called like the methods."""
    with Server(BASELINE, base, data / "measuring.npy", threads) as server:
        times = {batch: take_turns(server, None, 1, batch)[0] for batch in BATCHES}
    return [{"batch": batch, **speed(time, batch, None)} for batch, time in times.items()]


def speed(milliseconds: float, batch: int, ratio: float | None) -> records.Record:
    return {
        "milliseconds": round(milliseconds, 4),
        "queries_per_second": round(1000 * batch / milliseconds),
        "times_baseline": None if ratio is None else round(ratio, 2),
    }


def show(found: list[records.Record]) -> None:
    for record in found:
        if "skipped" in record:
            print(f"  skipped: {record['skipped']}")
        elif record.get("chosen", True):
            print("  " + ", ".join(f"{name} {record[name]}" for name in SHOWN if name in record), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
