"""Loads one index and searches it on request: reads a JSON request per line, writes a JSON answer per line.

It imports only what users of the method need: `ivf` and `exact` run with tensorflow only.

    python serve.py METHOD INDEX QUERIES THREADS
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

DEPTH = 10
_MOST_SCORES = 1 << 26

# Maps a batch in the method's own form, and the number of a setting, to ids [B, 10].
Search = Callable[[Any, int], Any]
Prepare = Callable[[np.ndarray], Any]


def open_saved_model(folder: Path, settings: list[dict], threads: int, scann: bool) -> tuple[Search, Prepare]:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    if scann:
        from scann.scann_ops.py import scann_ops  # noqa: F401  (registers its ops)
    loaded = tf.saved_model.load(folder)
    assert "ctxvision" not in sys.modules
    searches = [loaded.signatures[signature(i)] for i in range(len(settings))]
    return lambda queries, setting: searches[setting](queries=queries)["ids"], tf.constant


def signature(setting: int) -> str:
    """Returns the name of the signature for a setting; number 0 is the setting that tuning chose."""
    return f"search_{setting}" if setting else "search"


def open_faiss(folder: Path, settings: list[dict], threads: int) -> tuple[Search, Prepare]:
    import faiss

    faiss.omp_set_num_threads(threads)
    index = faiss.read_index(str(folder / "index.faiss"))

    def search(queries: np.ndarray, setting: int) -> np.ndarray:
        set_faiss(index, settings[setting])
        return index.search(queries, DEPTH)[1]

    return search, np.ascontiguousarray


def set_faiss(index: Any, setting: dict[str, int]) -> None:
    """Sets `probes` or `ef` of an index."""
    if "probes" in setting:
        index.nprobe = setting["probes"]
    else:
        index.hnsw.efSearch = setting["ef"]


def open_hnswlib(folder: Path, settings: list[dict], threads: int, dim: int) -> tuple[Search, Prepare]:
    import hnswlib

    index = hnswlib.Index("ip", dim)
    index.load_index(str(folder / "index.hnswlib"))
    index.set_num_threads(threads)

    def search(queries: np.ndarray, setting: int) -> np.ndarray:
        index.set_ef(settings[setting]["ef"])
        return index.knn_query(queries, DEPTH)[0]

    return search, np.ascontiguousarray


def open_numpy(folder: Path) -> tuple[Search, Prepare]:
    rows = np.load(folder / "rows.npy")

    def some(queries: np.ndarray) -> np.ndarray:
        scores = queries @ rows.T
        best = np.argpartition(scores, -DEPTH, axis=1)[:, -DEPTH:]
        order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
        return np.take_along_axis(best, order, axis=1)

    def search(queries: np.ndarray, setting: int) -> np.ndarray:
        chunk = max(1, _MOST_SCORES // len(rows))
        return np.concatenate([some(queries[i : i + chunk]) for i in range(0, len(queries), chunk)])

    return search, np.ascontiguousarray


class Searcher:
    """Answers requests for one index."""

    def __init__(self, method: str, folder: Path, queries: np.ndarray, threads: int):
        settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
        if method.startswith("faiss"):
            self._search, self._prepare = open_faiss(folder, settings, threads)
        elif method == "hnswlib":
            self._search, self._prepare = open_hnswlib(folder, settings, threads, queries.shape[1])
        elif method == "numpy":
            self._search, self._prepare = open_numpy(folder)
        else:
            self._search, self._prepare = open_saved_model(folder, settings, threads, method == "scann")
        self._queries = queries
        self._batches: dict[int, list[Any]] = {}
        self._next = 0

    def find(self, setting: int, batch: int = 32) -> list[list[int]]:
        """Finds ids [Q, 10] for all queries."""
        parts = [self._prepare(self._queries[i : i + batch]) for i in range(0, len(self._queries), batch)]
        return np.concatenate([np.asarray(self._search(part, setting)) for part in parts]).tolist()

    def time(self, setting: int, batch: int, seconds: float) -> list[float]:
        """Times calls in milliseconds, each with the next queries; drops the first time unless it is the only one."""
        if batch not in self._batches:
            starts = range(0, len(self._queries) - batch + 1, batch)
            self._batches[batch] = [self._prepare(self._queries[i : i + batch]) for i in starts]
        batches = self._batches[batch]
        times: list[float] = []
        end = time.perf_counter() + seconds
        while len(times) < 2 or time.perf_counter() < end:
            self._next += 1
            queries = batches[self._next % len(batches)]
            start = time.perf_counter()
            self._search(queries, setting)
            times.append(1000 * (time.perf_counter() - start))
            if times[0] > 4000 * seconds:
                return times
        return times[1:]

    def peak(self) -> int:
        """Returns the peak of resident memory in bytes."""
        return peak_resident()


def peak_resident() -> int:
    """Returns the peak of this process's resident memory in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def main(method: str, folder: str, queries: str, threads: str) -> None:
    searcher = Searcher(method, Path(folder), np.load(queries), int(threads))
    print("null", flush=True)  # ready
    for line in sys.stdin:
        name, arguments = json.loads(line)
        print(json.dumps(getattr(searcher, name)(**arguments)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
