"""Stores results in one JSON file; a new run replaces only the parts that it measured."""

import datetime
import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np

import ctxvision
from ctxvision._files import read_json, write_json
from ctxvision.training.versions import source_commit

PACKAGES = ("tensorflow", "scann", "faiss-cpu", "hnswlib", "numpy")
PART = ("data", "rows", "method")

Record = dict[str, Any]


def recall(found: np.ndarray, nearest: np.ndarray, k: int) -> float:
    """Computes the share of the k nearest rows among the first k found; both are int [Q, >= k], best first."""
    hits = (np.asarray(found)[:, :k, np.newaxis] == nearest[:, np.newaxis, :k]).any(axis=1)
    return float(hits.mean())


def replaced(old: list[Record], new: list[Record]) -> list[Record]:
    """Replaces the parts (data, rows, method) of `old` that `new` measures; sorts by data and rows."""
    measured = {tuple(record[name] for name in PART) for record in new}
    kept = [record for record in old if tuple(record[name] for name in PART) not in measured]
    return sorted([*kept, *new], key=lambda record: (record["data"], record["rows"]))


def load(file: Path) -> list[Record]:
    return read_json(file)["records"] if file.exists() else []


def save(file: Path, new: list[Record], provenance: Record) -> None:
    """Adds records, which refer to their provenance by its date, and drops provenance without records."""
    stored = read_json(file) if file.exists() else {"provenance": {}, "records": []}
    records = replaced(stored["records"], [{**record, "provenance": provenance["date"]} for record in new])
    everything = {**stored["provenance"], provenance["date"]: provenance}
    used = {record["provenance"] for record in records}
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, {"provenance": {d: p for d, p in everything.items() if d in used}, "records": records})


def provenance(threads: int) -> Record:
    """Describes date, commit, machine, load, threads and versions of a measurement."""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": source_commit(),
        "machine": f"{platform.machine()}, {_processor()}, {len(os.sched_getaffinity(0))} cores",
        "load": round(os.getloadavg()[0], 2),
        "threads": threads,
        "versions": {
            "python": platform.python_version(),
            "ctxvision": ctxvision.__version__,
            **{package: _version(package) for package in PACKAGES},
        },
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "?")


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"
