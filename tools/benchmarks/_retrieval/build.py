"""Builds the index of a method in a fresh process; approximate methods are tuned to a recall@3 of 0.95.

An index is a folder with `settings.json`, the settings to measure; the first one was chosen by tuning.
"""

import contextlib
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .index import Index
from .other_methods import build_faiss_hnsw, build_faiss_lists, build_hnswlib, build_numpy
from .serve import peak_resident
from .tensorflow_methods import build_baseline, build_ours

BASELINE = "matmul-top-k"
SAME_LISTS = "faiss-ivf-sq8-same-lists"
METHODS: dict[str, Callable[[Index, int | None], None]] = {
    BASELINE: build_baseline,
    "ivf": functools.partial(build_ours, "ivf"),
    "scann": functools.partial(build_ours, "scann"),
    "exact": functools.partial(build_ours, "exact"),
    "faiss-ivf-flat": functools.partial(build_faiss_lists, "Flat"),
    "faiss-ivf-sq8": functools.partial(build_faiss_lists, "SQ8"),
    SAME_LISTS: functools.partial(build_faiss_lists, "SQ8"),
    "faiss-hnsw": build_faiss_hnsw,
    "hnswlib": build_hnswlib,
    "numpy": build_numpy,
}


def build(method: str, data: Path, out: Path, threads: int, lists: int | None) -> dict[str, Any]:
    """Builds, tunes and writes an index.

    Args:
        method: one of `METHODS`.
        data: folder made by `rows.prepare`.
        out: existing empty folder for the index.
        threads: the number of threads to build and tune with.
        lists: for `faiss-ivf-sq8-same-lists`, the number of lists of `ivf`.

    Returns:
        `bytes_per_row`, `build_seconds`, `tune_seconds` (None if nothing is tuned), `build_peak_gb`.
    """
    with contextlib.suppress(OSError):  # if memory runs out, the system should kill this process and no other
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    index = Index(data, out, threads)
    METHODS[method](index, lists)
    index.facts["build_peak_gb"] = round(peak_resident() / 1e9, 3)
    return index.facts
