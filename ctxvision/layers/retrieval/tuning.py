"""Chooses the settings of an approximate search by measurement against exact search."""

import bisect
import gc
import math
import time
from typing import Any

import numpy as np
import tensorflow as tf

from ctxvision.layers.retrieval.batches import pick_best
from ctxvision.layers.retrieval.clustering import MANY_LISTS
from ctxvision.layers.retrieval.supported_rows import SupportedRows

NUM_QUERIES = 1000
_MOST_SCORES = 1 << 26
_ROWS_AT_A_TIME = 1 << 18
# Ratio between the numbers of centroids and rows compared with a query, above which another number of lists is tried. With 10
# million rows in 25,298 lists it is 3.6, and a query is faster in twice as many lists.
_IMBALANCE = 3
_FEWEST_IN_LIST = 16
# Numbers of rows to re-rank that are tried beside the built one.
_SHALLOWER = (30, 100)


def tune(
    retrieval: Any,
    rows: SupportedRows,
    recall: float,
    k: int,
    queries: np.ndarray | None,
) -> dict[str, Any]:
    """Tunes the search of an indexed `PrototypeRetrieval` over `rows`, and returns the value of its `tuning`."""
    if not 0 < recall <= 1:
        raise ValueError(f"recall must be above 0 and at most 1, got {recall!r}: use, for example, 0.95.")
    if int(k) != k or not 1 <= k <= retrieval.k:
        raise ValueError(
            f"k must be a whole number from 1 to {retrieval.k}, the k of the layer, got {k!r}: lower it."
        )
    if not hasattr(retrieval._search, "probes"):
        return {"recall": recall, "k": k, "queries": 0, "exact": True, "chosen": {}, "measured": []}
    ids = retrieval._search.ids.numpy()
    ids = np.sort(ids[ids >= 0])
    truth = _Truth.of(rows, ids, queries, k)

    # No variable may name the search here, because the old index would then live while the next one is built.
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
    # Two indexes may not fit in memory. A module keeps an attribute that is set to None, so the attribute is deleted;
    # functions that measured the old index are in reference cycles, so garbage is collected.
    del retrieval._parts.search
    _free()
    retrieval._parts.search = retrieval._build_search(rows, ids, **settings)


def _free() -> None:
    """Frees unreferenced memory; the second pass frees variables that the first pass has finalised."""
    for _ in range(2):
        gc.collect()


class _Truth:
    """Queries and their truly nearest rows."""

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
                    f"queries must be [Q, {rows.shape[1]}], none zero or NaN, got {list(queries.shape)}: embed pictures "
                    f"with the phrase generator that made the table."
                )
            own = np.full(len(queries), -1, np.int32)
        queries = queries / np.linalg.norm(queries, axis=1, keepdims=True)
        return cls(queries, own, _without(own, _exact(rows, ids, queries, k + 1), k))

    def recall(self, found: np.ndarray) -> float:
        """Computes the share of the truly nearest rows that are among int32 [Q, k + 1] found ids."""
        found = _without(self.own, found, self.nearest.shape[1])
        hits = (found[:, :, np.newaxis] == self.nearest[:, np.newaxis]).any(axis=1)
        return float(hits.mean())


def _exact(rows: SupportedRows, ids: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    """Finds the nearest rows exactly, int32 [Q, k]; reads rows in blocks."""
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
    """Removes each query's `own` id from found [Q, k + 1]; the result is [Q, k]."""
    order = np.argsort(found == own[:, np.newaxis], axis=1, kind="stable")
    return np.take_along_axis(found, order, axis=1)[:, :k]


def _best(measured: list[dict[str, Any]], recall: float) -> dict[str, Any]:
    """Returns the fastest measurement that reaches the recall, or the one with the highest recall if none does.

    Rows that tie can keep every setting from reaching it.
    """
    reached = [m for m in measured if m["recall"] >= recall]
    return (
        min(reached, key=lambda m: m["milliseconds"]) if reached else max(measured, key=lambda m: m["recall"])
    )


def _other_number(
    search: Any, measured: list[dict[str, Any]], best: dict[str, Any], num_rows: int
) -> int | None:
    """Proposes a number of lists that may be faster; None if none is worth building.

    A query is compared with C centroids and R rows. If R is far larger, √(C R) lists balance the two costs. If C is far
    larger, a third fewer lists are a careful step, because recall falls with the number of lists. Many lists stay, because
    another index of millions of rows takes long and gains little.
    """
    lists, rows = best["num_lists"], search.compared_rows(best["probes"])
    number = lists
    if rows > _IMBALANCE * lists:
        number = max(lists, min(round(math.sqrt(lists * rows)), num_rows // _FEWEST_IN_LIST))
    elif lists > _IMBALANCE * rows and lists <= MANY_LISTS:
        number = max(1, round(lists / 1.5))
    tried = [m["num_lists"] for m in measured]
    return None if min(tried) <= number <= max(tried) else number


def _measured(search: Any, truth: _Truth, recall: float) -> list[dict[str, Any]]:
    """Measures recall and time of the fewest probes that reach the recall, by bisection, then of fewer rows to re-rank.

    Recall grows with the number of probes. If no number reaches the recall, the last one measured is the largest.
    """
    ladder = _ladder(search.fewest_probes(truth.nearest.shape[1] + 1), search.num_lists)
    measured: list[dict[str, Any]] = []

    def reaches(probes: int) -> bool:
        search.probes = probes
        measured.append(_measurement(search, truth))
        return measured[-1]["recall"] >= recall

    place = bisect.bisect_left(ladder, True, key=reaches)
    search.probes = ladder[min(place, len(ladder) - 1)]
    # More probes than needed can only seem faster.
    measured = [one for one in measured if one["probes"] <= search.probes]
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
    """Finds int32 [Q, k + 1] ids, and the time of a query: the median of the fastest of ten stretches.

    Other load on the machine slows some stretches. Queries are searched one by one, because in a batch a query that
    needs further lists makes the others search them too.
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
    if hasattr(search, "depth"):
        # ScaNN's function holds a copy of the rows, which must be freed before the next function makes another.
        del find
        _free()
    stretches = np.array_split(times, min(10, len(times)))
    return np.concatenate(found), min(float(np.median(stretch)) for stretch in stretches)


def _ladder(fewest: int, most: int) -> list[int]:
    """Lists 1, 2, 3, 4, 6, 8, 12, 16, 24 ... from `fewest` to `most`, including both."""
    steps = [1 << i for i in range(int(math.log2(most)) + 1)]
    steps += [3 * step for step in steps]
    return sorted({fewest, most, *(step for step in steps if fewest < step < most)})
