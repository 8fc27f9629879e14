"""Finishes a context: tunes its index and writes its card."""

import shutil
from typing import Any

from ctxvision._files import read_json, write_json
from ctxvision.context.card import write_card
from ctxvision.context.context import Context
from ctxvision.context.held_out import held_out_rows
from ctxvision.layers import PrototypeRetrieval
from ctxvision.training.loaded_data import LoadedData
from ctxvision.training.progress import Progress
from ctxvision.training.weights import embed

# Recall that the approximate search must reach against the exact search, and phrases per picture.
RECALL, K = 0.95, 10


def finish_context(context: Context, data: LoadedData, progress: Progress) -> None:
    """Tunes the index on held-out pictures, writes the card and deletes the features kept for training.

    Args:
        context: a context whose stage `text` is finished.
        data: the data of the context.
        progress: prints progress.
    """
    if not (context.directory / "index.json").is_file():
        progress.start("index")
        write_json(context.directory / "index.json", _tuned(context, data))
        progress.finish()
    if not (context.directory / "README.md").is_file():
        write_card(context)
    shutil.rmtree(context.directory / "features", ignore_errors=True)
    shutil.rmtree(context.directory / "pictures", ignore_errors=True)
    (context.directory / "pictures.json").unlink(missing_ok=True)


def index_settings(context: Context) -> dict[str, Any]:
    """Returns the settings of the approximate search that tuning chose, as arguments of `PrototypeRetrieval.index`."""
    chosen = read_json(context.directory / "index.json")["chosen"]
    return {name: chosen[name] for name in ("num_lists", "probes") if name in chosen}


def _tuned(context: Context, data: LoadedData) -> dict[str, object]:
    k = min(K, context.num_retrievable())
    retrieval = PrototypeRetrieval(k, "ivf")
    split, rows = held_out_rows(data)
    queries = embed(context.phrase_generator, data.pictures(split)[rows])
    retrieval.tune(context.phrase_table, RECALL, k, queries, **context.retrievable)
    assert retrieval.tuning is not None
    return retrieval.tuning
