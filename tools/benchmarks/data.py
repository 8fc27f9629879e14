"""Measures loading a million rows, and writing TFRecords compared with copying files; writes results/data.json.

    python tools/benchmarks/data.py [FOLDER] [--rows N]

- A synthetic `images.csv` of N rows (a million), with up to 4 queries in two languages per row: seconds and peak memory
  of a process that loads and checks it like `ctxvision data check --pictures 0`. The picture folders do not exist.
- The picture files of FOLDER with an `images.csv` (default: the demo's pictures), cached in memory: megabytes per
  second of `tools/write_tfrecords.py`, of copying the files into one folder with the same number of threads, and of
  concatenating them to the same number of large files, which is an upper bound for any format.
"""

import argparse
import csv
import datetime
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import ctxvision as cv
from ctxvision._files import write_json
from ctxvision.data import Manifest, write_demo_data
from ctxvision.training.versions import installed_versions, source_commit

sys.path.insert(0, str(Path(__file__).parents[1]))
from write_tfrecords import write_tfrecords  # noqa: E402

RESULTS = Path(__file__).parent / "results"
ROUNDS = 3
SHARD_MEGABYTES = 8.0
WORKERS = 4

CHECK = """
import resource, sys, time
start = time.monotonic()
from ctxvision.data import check_data, load_data
imported = time.monotonic()
manifest = load_data(sys.argv[1])
loaded = time.monotonic()
found = check_data(manifest, pictures=0)
checked = time.monotonic()
assert dict(found.facts)["query classes"]
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(imported - start, loaded - imported, checked - loaded, peak)
"""


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?", help="default: the demo's pictures")
    parser.add_argument("--rows", type=int, default=1_000_000)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as place:
        write_rows(Path(place, "rows"), given.rows)
        manifest = {"rows": given.rows, **checked(f"{place}/rows")}
        if given.folder is None:
            given.folder = f"{place}/emoji"
            write_demo_data(given.folder)
        writer = written(cv.load_data(given.folder), given.folder, Path(place))
    print(manifest, writer, sep="\n")
    facts = {
        "date": datetime.date.today().isoformat(),
        "commit": source_commit(),
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        "versions": installed_versions(),
    }
    write_json(RESULTS / "data.json", {**facts, "manifest": manifest, "writer": writer})


def write_rows(folder: Path, number: int) -> None:
    """Writes a log of web pictures, with a fifth of labelled and a tenth of test pictures."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    words = rng.integers(0, 3000, [100_000, 3]).tolist()
    queries = [" ".join(f"word{word}" for word in some[: 1 + i % 3]) for i, some in enumerate(words)]
    popular = (len(queries) * rng.random([number, 4]) ** 3).astype(int).tolist()
    counts = rng.integers(1, 5, number).tolist()
    with open(folder / "images.csv", "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "split", "label", "queries", "languages"])
        for i, (drawn, count) in enumerate(zip(popular, counts)):
            split = ("web", "web", "web", "web", "web", "web", "web", "train", "train", "test")[i % 10]
            typed = [queries[j] for j in drawn[:count]] if split == "web" else []
            spoken = ["es" if j % 5 == 0 else "en" for j in drawn[: len(typed)]]
            label = "" if split == "web" else f"label {drawn[0] % 1000}"
            rows.writerow([f"{i // 1000:05d}/{i:09d}.jpg", split, label, "|".join(typed), "|".join(spoken)])


def checked(folder: str) -> dict[str, Any]:
    """Measures seconds and peak memory of loading and checking, in a fresh process."""
    done = subprocess.run([sys.executable, "-c", CHECK, folder], capture_output=True, text=True, check=True)
    imported, loaded, check, peak = map(float, done.stdout.split())
    return {
        "seconds_to_import": round(imported, 1),
        "seconds_to_load": round(loaded, 1),
        "seconds_to_check": round(check, 1),
        "peak_memory_gib": round(peak, 2),
    }


def written(manifest: Manifest, folder: str, place: Path) -> dict[str, Any]:
    """Measures megabytes per second of the writer and of two ways to copy, in turns."""
    paths = sorted({path for split in manifest.by_split.values() for path in split.paths})
    size = sum(len(Path(path).read_bytes()) for path in paths)  # also caches all files in memory
    rows = sum(map(len, manifest.by_split.values()))
    assert rows == len(paths), "each picture is written once"
    number = max(1, round(size / SHARD_MEGABYTES / 1e6))

    def write(out: Path) -> None:
        write_tfrecords([folder], str(out), shard_megabytes=SHARD_MEGABYTES, workers=WORKERS)

    def copy(out: Path) -> None:
        out.mkdir()
        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(lambda i: shutil.copyfile(paths[i], out / str(i)), range(len(paths)), chunksize=64))

    def join(out: Path) -> None:
        out.mkdir()

        def one(part: int) -> None:
            with open(out / str(part), "wb", buffering=4 << 20) as file:
                for path in paths[part::number]:
                    file.write(Path(path).read_bytes())

        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(one, range(number)))

    rates: dict[str, list[float]] = {"write": [], "copy": [], "join": []}
    for i in range(ROUNDS):
        for name, way in (("write", write), ("copy", copy), ("join", join)):
            out = place / f"{name}{i}"
            start = time.monotonic()
            way(out)
            rates[name].append(size / 1e6 / (time.monotonic() - start))
            shutil.rmtree(out)
    found = {f"{name}_megabytes_per_second": round(median(rate), 1) for name, rate in rates.items()}
    ratios = {
        f"of_{name}": round(median(rates["write"]) / median(rates[name]), 2) for name in ("copy", "join")
    }
    return {
        "data": Path(folder).name,
        "pictures": len(paths),
        "megabytes": round(size / 1e6, 1),
        "workers": WORKERS,
        "rounds": ROUNDS,
        **found,
        **ratios,
    }


if __name__ == "__main__":
    main(sys.argv[1:])
