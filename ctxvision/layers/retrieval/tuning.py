"""Settings of an approximate search, chosen by measurement against exact search."""

import gc
import math
import time
from typing import Any

import numpy as np
import tensorflow as tf

from ctxvision.layers.retrieval.batches import pick_best
from ctxvision.layers.retrieval.supported_rows import SupportedRows

NUM_QUERIES = 1000
_MOST_SCORES = 1 << 26
_ROWS_AT_A_TIME = 1 << 18
# Centroids and rows that a query is compared with, one more often than the other, before another number is tried.
_IMBALANCE = 4
_FEWEST_IN_LIST = 16
# Rows to re-rank, where fewer than the built ones may do.
_SHALLOWER = (30, 100)


def tune(
    retrieval: Any,
    rows: SupportedRows,
    recall: float,
    k: int,
    queries: np.ndarray | None,
) -> dict[str, Any]:
    """Settles the search of an indexed `PrototypeRetrieval` over `rows`; returns what its `tuning` then holds."""
    if not 0 < recall <= 1:
        raise ValueError(f"recall must lie above 0 and at most at 1, got {recall!r}: 0.95 is usual.")
    if int(k) != k or not 1 <= k <= retrieval.k:
        raise ValueError(f"k must be a whole number from 1 to the built {retrieval.k}, got {k!r}: lower it.")
    if not hasattr(retrieval._search, "probes"):
        return {"recall": recall, "k": k, "queries": 0, "exact": True, "chosen": {}, "measured": []}
    ids = retrieval._search.ids.numpy()
    ids = np.sort(ids[ids >= 0])
    truth = _Truth.of(rows, ids, queries, k)

    # No name for the search here: an old index would live on while the next one is built.
    measured = _measured(retrieval._search, truth, recall)
    best = _best(measured, recall)
    while num_lists := _other_number(retrieval._search, measured, best, len(ids)):
        _rebuild(retrieval, rows, ids, num_lists=num_lists)
        measured += (others := _measured(retrieval._search, truth, recall))
        if _best([best, *others], recall) is best:
            break
        best = _best(others, recall)
    chosen = {name: best[name] for name in ("num_lists", "probes", "depth") if name in best}
    if chosen["num_lists"] != retrieval._search.num_lists:
        _rebuild(retrieval, rows, ids, **chosen)
    else:
        for name in set(chosen) - {"num_lists"}:
            setattr(retrieval._search, name, chosen[name])
    return {
        "recall": recall,
        "k": k,
        "queries": len(truth.queries),
        "exact": False,
        "chosen": best,
        "measured": measured,
    }


def _rebuild(retrieval: Any, rows: SupportedRows, ids: np.ndarray, **settings: int) -> None:
    # Two need not fit in memory. A module keeps what is merely set to None; functions that measured it are in cycles.
    del retrieval._parts.search
    _free()
    retrieval._parts.search = retrieval._build_search(rows, ids, **settings)


def _free() -> None:
    """Gives back the memory of what nobody holds: variables only go with what the first pass has finalised."""
    for _ in range(2):
        gc.collect()


class _Truth:
    """Queries and the rows that are truly nearest to them."""

    def __init__(self, queries: np.ndarray, own: np.ndarray, nearest: np.ndarray):
        self.queries, self.own, self.nearest = queries, own, nearest

    @classmethod
    def of(cls, rows: SupportedRows, ids: np.ndarray, queries: np.ndarray | None, k: int) -> "_Truth":
        if queries is None:
            own = np.sort(np.random.default_rng(0).choice(ids, min(NUM_QUERIES, len(ids)), replace=False))
            queries = np.asarray(rows[own], np.float32)
        else:
            queries = np.asarray(queries, np.float32)
            lengths = np.linalg.norm(queries, axis=-1) if queries.ndim == 2 else np.zeros(0)
            if queries.shape[1:] != rows.shape[1:] or not len(lengths) or not (lengths > 0).all():
                raise ValueError(
                    f"queries must be [Q, {rows.shape[1]}], none zero or NaN, got {list(queries.shape)}: embed pictures with "
                    f"the phrase generator that made the table."
                )
            own = np.full(len(queries), -1, np.int32)
        queries = queries / np.linalg.norm(queries, axis=1, keepdims=True)
        return cls(queries, own, _without(own, _exact(rows, ids, queries, k + 1), k))

    def recall(self, found: np.ndarray) -> float:
        """Share of the truly nearest rows that are among int32 [Q, k + 1] found ids."""
        found = _without(self.own, found, self.nearest.shape[1])
        hits = (found[:, :, np.newaxis] == self.nearest[:, np.newaxis]).any(axis=1)
        return float(hits.mean())


def _exact(rows: SupportedRows, ids: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    """int32 [Q, k]: the nearest rows, exactly, read in blocks."""
    scores = tf.fill([len(queries), k], -tf.float32.max)
    found = tf.fill([len(queries), k], -1)
    step = min(_ROWS_AT_A_TIME, max(1024, _MOST_SCORES // len(queries)))
    for start in range(0, len(ids), step):
        part = ids[start : start + step]
        products = tf.matmul(queries, np.asarray(rows[part], np.float32), transpose_b=True)
        block = pick_best(products, tf.constant(part), min(k, len(part)))
        scores, found = (tf.concat(pair, axis=1) for pair in zip((scores, found), block))
        scores, found = pick_best(scores, found, k)
    return found.numpy()


def _without(own: np.ndarray, found: np.ndarray, k: int) -> np.ndarray:
    """[Q, k] of found [Q, k + 1], each row without its `own` id."""
    order = np.argsort(found == own[:, np.newaxis], axis=1, kind="stable")
    return np.take_along_axis(found, order, axis=1)[:, :k]


def _best(measured: list[dict[str, Any]], recall: float) -> dict[str, Any]:
    """The quickest that reaches the recall; where rows that tie keep every setting from it, the nearest to it."""
    reached = [m for m in measured if m["recall"] >= recall]
    return (
        min(reached, key=lambda m: m["milliseconds"]) if reached else max(measured, key=lambda m: m["recall"])
    )


def _other_number(
    search: Any, measured: list[dict[str, Any]], best: dict[str, Any], num_rows: int
) -> int | None:
    """A number of lists that may be quicker; None where none is worth the building.

    A query is compared with C centroids and with R rows. Where R is far more, √(C R) lists balance the two; where C
    is, a third fewer are a careful step, since the recall falls with them.
    """
    lists, rows = best["num_lists"], search.compared_rows(best["probes"])
    number = lists
    if rows > _IMBALANCE * lists:
        number = max(lists, min(round(math.sqrt(lists * rows)), num_rows // _FEWEST_IN_LIST))
    elif lists > _IMBALANCE * rows:
        number = max(1, round(lists / 1.5))
    tried = [m["num_lists"] for m in measured]
    return None if min(tried) <= number <= max(tried) else number


def _measured(search: Any, truth: _Truth, recall: float) -> list[dict[str, Any]]:
    """Recall and time as probes grow, until the recall is reached; then with less to re-rank, where that can be."""
    fewest = search.fewest_probes(truth.nearest.shape[1] + 1)
    measured: list[dict[str, Any]] = []
    for probes in _ladder(fewest, search.num_lists):
        search.probes = probes
        measured.append(_measurement(search, truth))
        if measured[-1]["recall"] >= recall:
            break
    if hasattr(search, "depth"):
        full = search.depth
        for depth in _SHALLOWER:
            search.depth = min(depth, full)
            measured.append(_measurement(search, truth))
        search.depth = full
    return measured


def _measurement(search: Any, truth: _Truth) -> dict[str, Any]:
    depth = {"depth": search.depth} if hasattr(search, "depth") else {}
    found, milliseconds = _found(search, truth)
    measured = {"recall": truth.recall(found), "milliseconds": milliseconds}
    return {"num_lists": search.num_lists, "probes": search.probes, **depth, **measured}


def _found(search: Any, truth: _Truth) -> tuple[np.ndarray, float]:
    """int32 [Q, k + 1] ids, and the median time of a query, of ten stretches the quickest: the machine may do more.

    One at a time: in a batch, a query that goes on to further lists takes the others along, which then find more.
    """
    find = tf.function(lambda q: search.search(q, truth.nearest.shape[1] + 1)[1], autograph=False)
    queries = [tf.constant(query[np.newaxis]) for query in truth.queries]
    find = find.get_concrete_function(queries[0])
    find(queries[0])
    found, times = [], []
    for query in queries:
        start = time.perf_counter()
        found.append(find(query).numpy())
        times.append(1000 * (time.perf_counter() - start))
    # What ScaNN's function holds, a copy of the rows, goes with it, before the next one makes another.
    del find
    _free()
    stretches = np.array_split(times, min(10, len(times)))
    return np.concatenate(found), min(float(np.median(stretch)) for stretch in stretches)


def _ladder(fewest: int, most: int) -> list[int]:
    """1, 2, 3, 4, 6, 8, 12, 16, 24 ... from `fewest` to `most`, both included."""
    steps = [1 << i for i in range(int(math.log2(most)) + 1)]
    steps += [3 * step for step in steps]
    return sorted({fewest, most, *(step for step in steps if fewest < step < most)})
