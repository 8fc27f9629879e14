"""What a context gets when all of it is trained: a tuned index, and its card."""

import shutil
from typing import Any

import numpy as np

from ctxvision._files import read_json, write_json
from ctxvision.context.card import write_card
from ctxvision.context.context import Context
from ctxvision.layers import PrototypeRetrieval
from ctxvision.training.loaded_data import LoadedData
from ctxvision.training.progress import Progress
from ctxvision.training.weights import embed

# Recall of the approximate search against the exact one, and phrases a picture.
RECALL, K = 0.95, 10
MOST_PICTURES = 1000


def finish_context(context: Context, data: LoadedData, progress: Progress) -> None:
    """Tunes the index on held-out pictures, writes the card, and deletes the features that only training needed.

    Args:
        context: past its stage `text`.
        data: it was made from.
        progress: where progress is printed.
    """
    if not (context.directory / "index.json").is_file():
        progress.start("index")
        write_json(context.directory / "index.json", _tuned(context, data))
        progress.finish()
    if not (context.directory / "README.md").is_file():
        write_card(context)
    shutil.rmtree(context.directory / "features", ignore_errors=True)
    shutil.rmtree(context.directory / "pictures", ignore_errors=True)


def index_settings(context: Context) -> dict[str, Any]:
    """Settings of the approximate search that tuning chose, arguments of `PrototypeRetrieval.index`."""
    chosen = read_json(context.directory / "index.json")["chosen"]
    return {name: chosen[name] for name in ("num_lists", "probes") if name in chosen}


def _tuned(context: Context, data: LoadedData) -> dict[str, object]:
    k = min(K, context.num_retrievable())
    retrieval = PrototypeRetrieval(k, "ivf")
    pictures = held_out_pictures(context, data)
    queries = embed(context.phrase_generator, pictures)
    retrieval.tune(context.phrase_table, RECALL, k, queries, **context.retrievable)
    assert retrieval.tuning is not None
    return retrieval.tuning


def held_out_pictures(context: Context, data: LoadedData) -> np.ndarray:
    """uint8 [N, S, S, 3] of `val`, else of `train`; only where the data has neither, of `web`."""
    names = [name for name in ("val", "train", "web") if name in data.manifest.splits] or data.manifest.splits
    pictures = data.pictures(names[0])
    rows = np.random.default_rng(context.config.seed).permutation(len(pictures))[:MOST_PICTURES]
    return pictures[np.sort(rows)]
