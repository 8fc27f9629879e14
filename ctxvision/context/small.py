"""Trains a second context on the same data, whose generator learns few queries and expands by prototypes (Table 2)."""

import dataclasses

import numpy as np

from ctxvision._files import read_json
from ctxvision.context.context import QUERIES, Context
from ctxvision.context.train import train_context
from ctxvision.errors import InputError
from ctxvision.training.data_facts import located
from ctxvision.training.loaded_data import LoadedData
from ctxvision.training.progress import Progress

FOLDER = "small"
# Share of the whole generator's classes, the most frequent ones.
SHARE = 0.1
FEWEST = 100


def small_context(context: Context, progress: Progress) -> Context:
    """Trains a context whose classes are the most frequent tenth of the queries, at least 100.

    The other queries get only prototypes.

    The first call trains it, which takes about as long as the context did, and keeps it in `CONTEXT/small`.

    Args:
        context: a context that has learnt from queries.
        progress: prints the stages.

    Raises:
        InputError: the context is from two towers, its data has moved, or all queries have the same number of pictures.
    """
    folder = context.directory / FOLDER
    if context.kind != QUERIES:
        raise InputError(
            "a second, small generator needs a context that was learnt from queries, got one from two towers: leave "
            "the suite out."
        )
    stored = read_json(context.directory / "context.json")
    source = located(stored["data"]["folder"], context.directory)
    data = LoadedData(source, context.config.image_size, context.config.seed, folder=folder / "pictures")
    log, config = data.query_log, context.config
    counts = np.sort(log.counts[np.isin(log.languages, config.languages)])[::-1]
    classes = max(FEWEST, round(SHARE * (counts >= config.min_class_count).sum()))
    least = int(counts[min(classes, len(counts)) - 1])
    if (counts >= least).sum() == (counts >= config.min_class_count).sum():
        raise InputError(
            "a second, small generator needs queries that differ in their number of pictures, got "
            f"{len(counts)} queries, whose classes all have at least {least} pictures: give more queries."
        )
    few = dataclasses.replace(config, min_class_count=least)
    return train_context(source, folder, few, progress=progress, loaded=data)
