"""Builds SavedModels of the baseline and of the backends of `PrototypeRetrieval`."""

import math
import time
from collections.abc import Callable
from typing import Any

from .index import RECALL, Index, K, Settings, around
from .rows import DEPTH, DIM
from .serve import signature

# Each signature with ScaNN holds its own copy of the rows, so for more rows only the tuned setting is saved.
MOST_ROWS_OF_SEARCHERS = 2_000_000


def _tensorflow(threads: int) -> Any:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    return tf


def _save(index: Index, module: Any, searches: list[Any]) -> None:
    """Writes a SavedModel; `searches` map float32 [B, 64] to outputs, and are traced if settings differ."""
    tf = _tensorflow(index.threads)
    tf.saved_model.save(
        module,
        str(index.out),
        signatures={signature(i): search for i, search in enumerate(searches)},
        options=tf.saved_model.SaveOptions(namespace_whitelist=["Scann"]),
    )


def _traced(search: Callable[[Any], dict[str, Any]]) -> Any:
    """Traces a function with the input signature that all SavedModels share."""
    import tensorflow as tf

    queries = tf.TensorSpec([None, DIM], tf.float32, name="queries")
    return tf.function(search, autograph=False, input_signature=[queries]).get_concrete_function()


def build_baseline(index: Index, _: int | None) -> None:
    """Builds a SavedModel of matmul and top_k; setting 1 is a function that does nothing."""
    tf = _tensorflow(index.threads)
    module = tf.Module()
    module.rows = index.timed("build", lambda: tf.Variable(index.rows, trainable=False))

    def search(queries: Any) -> dict[str, Any]:
        scores, ids = tf.math.top_k(tf.matmul(queries, module.rows, transpose_b=True), DEPTH)
        return {"ids": ids, "scores": scores}

    _save(index, module, [_traced(search), _traced(lambda queries: {"ids": queries + 1.0})])
    index.finish([{}, {}], index.rows.nbytes)


def build_ours(backend: str, index: Index, _: int | None) -> None:
    """Builds a SavedModel of a `PrototypeRetrieval` with everything that an export holds, including phrases."""
    tf = _tensorflow(index.threads)
    import ctxvision as cv

    class Timed(cv.PrototypeRetrieval):
        def index(self, *arguments: Any, **named: Any) -> Any:
            return index.timed("build", lambda: super(Timed, self).index(*arguments, **named))

    retrieval = Timed(k=DEPTH, backend=backend)
    start = time.perf_counter()
    retrieval.tune(index.table, recall=RECALL, k=K, queries=index.queries)
    seconds = time.perf_counter() - start
    search = retrieval._search
    settings: list[Settings] = [{}]
    if not retrieval.tuning["exact"]:
        index.facts["tune_seconds"] = round(seconds - index.facts["build_seconds"], 1)
        shared = {name: getattr(search, name) for name in ("num_lists", "depth") if hasattr(search, name)}
        fewest = search.fewest_probes(DEPTH)  # the search never uses fewer
        probes = around("probes", max(search.probes, fewest), fewest, search.num_lists)
        settings = [{**shared, **probe} for probe in probes]
        if backend == "scann" and len(index.rows) > MOST_ROWS_OF_SEARCHERS:
            settings = settings[:1]
    searches = []
    for setting in settings:
        for name, value in setting.items():
            setattr(search, name, value)  # the next trace captures it
        searches.append(_traced(lambda queries: dict(zip(("ids", "scores"), retrieval.search(queries)))))
    module = tf.Module()
    module.parts = [search, retrieval._vocabulary]
    _save(index, module, searches)
    held = [*search.variables, *retrieval._vocabulary.side_block.variables]
    index.finish(settings, sum(v.dtype.size * math.prod(v.shape) for v in held))
