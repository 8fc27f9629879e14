"""Is a context any good? Measured on pictures, and written into its card."""

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
    """Measures a context on the test splits of data, else on `val`, `train` or `web`, and writes its card anew.

    Args:
        context: a context or its folder.
        data: pictures with queries, labels or both; see `load_data`.
        label_column: the column that holds the labels.
        progress: where progress is printed; standard error by default.

    Returns:
        Records of the suite `context`. By the queries: `hit@1`, `hit@3`, `hit@5`, `hit@10`, is one of the first phrases
        what people searched for to find the picture, and `mrr@10`; `text_recall@1` and `text_recall@10`, see
        `text_recall`. By the labels, where every picture has one: `cluster_accuracy` of the first phrase.

    Raises:
        InputError: data that has neither queries nor labels.
    """
    context = context if isinstance(context, Context) else Context(context)
    progress = progress or Progress()
    loaded = LoadedData(data, context.config.image_size, context.config.seed, label_column)
    progress.start("context")
    records = measured(context, loaded, splits_of(loaded))
    progress.finish()
    if not records:
        raise InputError(
            f"data must have queries or labels to judge phrases by, got neither in {loaded.name}: fill the column queries, "
            "or label."
        )
    write_json(context.directory / FIGURES, [_told(record) for record in records])
    write_card(context)
    return records


def splits_of(data: LoadedData) -> list[str]:
    """The splits that a context is measured on."""
    rest: list[str] = [name for name in ("val", "train", "web") if name in data.manifest.splits]
    return data.test_splits or rest[:1]


def measured(context: Context, data: LoadedData, splits: list[str]) -> list[Record]:
    """Records of a context on some splits."""
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


def _told(record: Record) -> dict[str, Any]:
    return {"data": record.data, "split": record.split, "metric": record.metric, "value": record.value}
