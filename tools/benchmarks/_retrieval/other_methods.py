"""Builds indexes of faiss and hnswlib, and the rows for NumPy, which needs no index."""

import functools
import math
import os
from typing import Any

import numpy as np

from .index import Index, Settings
from .rows import DEPTH, DIM
from .serve import set_faiss

SAMPLE_PER_LIST = 64
# Links per row and search depth while building: the libraries' defaults, and 32 links as faiss recommends.
FAISS_LINKS, FAISS_EF = 32, 40
HNSWLIB_LINKS, HNSWLIB_EF = 16, 200
MOST_EF = 4096


def build_faiss_lists(codes: str, index: Index, lists: int | None) -> None:
    """Builds an IVF index whose lists come from k-means on a sample."""
    import faiss

    faiss.omp_set_num_threads(index.threads)
    num_lists = lists or round(4 * math.sqrt(len(index.rows)))
    built = faiss.index_factory(DIM, f"IVF{num_lists},{codes}", faiss.METRIC_INNER_PRODUCT)

    def fill() -> None:
        count = min(len(index.rows), SAMPLE_PER_LIST * num_lists)
        sample = np.random.default_rng(0).choice(len(index.rows), count, replace=False)
        built.train(np.asarray(index.rows[np.sort(sample)]))
        for block in index.blocks():
            built.add(block)

    index.timed("build", fill)
    settings = index.least("probes", 1, num_lists, functools.partial(_faiss_found, built, index, "probes"))
    _write_faiss(built, index, [{"num_lists": num_lists, **setting} for setting in settings])


def build_faiss_hnsw(index: Index, _: int | None) -> None:
    import faiss

    faiss.omp_set_num_threads(index.threads)
    built = faiss.IndexHNSWFlat(DIM, FAISS_LINKS, faiss.METRIC_INNER_PRODUCT)
    built.hnsw.efConstruction = FAISS_EF
    index.timed("build", lambda: [built.add(block) for block in index.blocks()])
    settings = index.least("ef", DEPTH, MOST_EF, functools.partial(_faiss_found, built, index, "ef"))
    _write_faiss(built, index, settings)


def _faiss_found(built: Any, index: Index, name: str, value: int) -> np.ndarray:
    set_faiss(built, {name: value})
    return built.search(index.queries, DEPTH)[1]


def _write_faiss(built: Any, index: Index, settings: list[Settings]) -> None:
    import faiss

    faiss.write_index(built, str(index.out / "index.faiss"))
    index.finish(settings, os.path.getsize(index.out / "index.faiss"))


def build_hnswlib(index: Index, _: int | None) -> None:
    import hnswlib

    built = hnswlib.Index("ip", DIM)
    built.init_index(len(index.rows), ef_construction=HNSWLIB_EF, M=HNSWLIB_LINKS)
    built.set_num_threads(index.threads)
    index.timed("build", lambda: [built.add_items(block) for block in index.blocks()])

    def found(ef: int) -> np.ndarray:
        built.set_ef(ef)
        return built.knn_query(index.queries, DEPTH)[0]

    settings = index.least("ef", DEPTH, MOST_EF, found)
    built.save_index(str(index.out / "index.hnswlib"))
    index.finish(settings, os.path.getsize(index.out / "index.hnswlib"))


def build_numpy(index: Index, _: int | None) -> None:
    index.timed("build", lambda: np.save(index.out / "rows.npy", index.rows))
    index.finish([{}], index.rows.nbytes)
