"""Measures a context on pictures, and writes the figures into its card."""

import os
from typing import Any

import numpy as np

from ctxvision._files import write_json
from ctxvision.context.card import FIGURES, write_card
from ctxvision.context.context import Context
from ctxvision.context.pooled import found_phrases
from ctxvision.context.quality import quality_by_queries, text_recall, true_queries
from ctxvision.data.source import Source
from ctxvision.errors import InputError
from ctxvision.metrics import cluster_accuracy
from ctxvision.metrics.records import Record
from ctxvision.training.loaded_data import LoadedData
from ctxvision.training.progress import Progress
from ctxvision.training.weights import embed

DEPTHS = (1, 3, 5, 10)


def evaluate_context(
    context: Context | str | os.PathLike[str],
    data: Source,
    label_column: str = "label",
    progress: Progress | None = None,
) -> list[Record]:
    """Measures a context on the test splits of data, else on `val`, `train` or `web`, and writes its card again.

    Args:
        context: a context or its folder.
        data: pictures with queries, labels or both; see `load_data`.
        label_column: column of the labels.
        progress: prints progress, to standard error by default.

    Returns:
        Records of the suite `context`:
        with queries, `hit@k` for k of 1, 3, 5 and 10, the share of pictures with a true query among the first k
        phrases, and `mrr@10`; depths beyond the number of retrievable phrases are left out;
        with queries, `text_recall@1` and `text_recall@10`, see `text_recall`;
        with one label per picture, `cluster_accuracy` of the first phrase.

    Raises:
        InputError: the data has neither queries nor labels.

    Example:
        >>> records = cv.evaluate_context("contexts/web", "photos")
        >>> [record.value for record in records if record.metric == "hit@3"]
        [1.0, 1.0]
    """
    context = context if isinstance(context, Context) else Context(context)
    progress = progress or Progress()
    loaded = LoadedData(data, context.config.image_size, context.config.seed, label_column)
    progress.start("context")
    records = measured(context, loaded, splits_of(loaded))
    progress.finish()
    if not records:
        raise InputError(
            f"data must have queries or labels to judge phrases by, got neither in {loaded.name}: fill the column "
            "queries or label."
        )
    write_json(context.directory / FIGURES, [_figure(record) for record in records])
    write_card(context)
    return records


def splits_of(data: LoadedData) -> list[str]:
    """Returns the splits on which a context is measured."""
    rest: list[str] = [name for name in ("val", "train", "web") if name in data.manifest.splits]
    return data.test_splits or rest[:1]


def measured(context: Context, data: LoadedData, splits: list[str]) -> list[Record]:
    """Returns the records of a context on some splits."""
    records = []
    depths = [depth for depth in DEPTHS if depth <= context.num_retrievable()]
    for split in splits:
        embeddings = embed(context.phrase_generator, data.pictures(split))
        found = found_phrases(context, embeddings, max(depths))
        truth, rows = true_queries(data, split), data.split(split)
        values = {} if truth is None else quality_by_queries(found, truth, depths)
        values |= text_recall(context, data, split)
        if all(len(labels) == 1 for labels in rows.labels):
            numbers = np.unique([label for (label,) in rows.labels], return_inverse=True)[1]
            values["cluster_accuracy"] = cluster_accuracy([line[0] for line in found], numbers.tolist())
        keys: dict[str, Any] = {"suite": "context", "data": data.name, "split": split}
        keys["vocabulary"] = int(context.phrase_table.live.sum())
        records += [Record(metric=metric, value=value, **keys) for metric, value in values.items()]
    return records


def _figure(record: Record) -> dict[str, Any]:
    return {"data": record.data, "split": record.split, "metric": record.metric, "value": record.value}
