"""A context of the same data whose phrase generator learns few queries, and knows the others by prototypes (Table 2)."""

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
# Of the queries that are classes of the whole generator, the most frequent.
SHARE = 0.1
FEWEST = 100


def small_context(context: Context, progress: Progress) -> Context:
    """The most frequent tenth of the queries, at least 100, are its softmax classes; all others are prototypes alone.

    It is trained the first time, which takes about as long as the context did, and kept in `CONTEXT/small`.

    Args:
        context: learnt from queries.
        progress: where its stages are printed.

    Raises:
        InputError: a context from two towers, which learnt no queries, data that is not there any more, or queries that
            all have as many pictures.
    """
    folder = context.directory / FOLDER
    if context.kind != QUERIES:
        raise InputError(
            "a second, small generator needs a context that was learnt from queries, got one from two towers: leave the suite "
            "out."
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
            f"a second, small generator needs queries that differ in their number of pictures, got {len(counts)} queries and "
            f"no fewer with {least} pictures or more: give more queries."
        )
    few = dataclasses.replace(config, min_class_count=least)
    return train_context(source, folder, few, progress=progress, loaded=data)
