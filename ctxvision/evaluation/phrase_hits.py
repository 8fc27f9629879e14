"""Suite `phrases`: is one of the first phrases what people searched for to find such a picture?"""

from collections import Counter, defaultdict

import numpy as np

from ctxvision.evaluation.features import short_name
from ctxvision.evaluation.records import Record, save_records
from ctxvision.metrics import hit_at_k, phrase_hits
from ctxvision.training.run import Run

DEPTH = 3


def measure_phrases(run: Run) -> list[Record]:
    """Writes `hit@1` and `hit@3` of the retrieved phrases on every test split that can be judged.

    A phrase hits when it is a query of the picture itself; where the test pictures carry no queries, when most of
    the web pictures it led to have the picture's label. Without either there is nothing to judge by.
    """
    retrieval = run.retrieval(DEPTH)
    records = []
    for split in run.data.test_splits:
        truth = _true_queries(run, split)
        if truth is None:
            continue
        ids = np.concatenate([retrieval(part).ids for part in _parts(run.query_embeddings(split))])
        phrases = run.phrase_table.phrases
        hits = phrase_hits([[phrases[i] if i >= 0 else "" for i in row] for row in ids], truth)
        for k in (1, DEPTH):
            records.append(
                Record(
                    suite="phrases",
                    data=run.data_name,
                    method="phrase_generator",
                    vocabulary=int(run.phrase_table.live.sum()),
                    seed=run.config.seed,
                    split=short_name(split),
                    metric=f"hit@{k}",
                    value=hit_at_k(hits, k),
                )
            )
    save_records(run.directory / "metrics.json", records)
    return records


def _true_queries(run: Run, split: str) -> list[set[str]] | None:
    rows = run.data.split(split)
    if any(rows.queries):
        return [{query.text for query in queries} for queries in rows.queries]
    web = run.data.split("web")
    if not any(web.labels):
        return None
    votes: dict[str, Counter[str]] = defaultdict(Counter)
    for labels, queries in zip(web.labels, web.queries, strict=True):
        for query in queries:
            votes[query.text].update(labels)
    of_label: dict[str, set[str]] = defaultdict(set)
    for phrase, counts in votes.items():
        if counts:
            of_label[counts.most_common(1)[0][0]].add(phrase)
    return [set().union(*(of_label[label] for label in labels)) for labels in rows.labels]


def _parts(values: np.ndarray, size: int = 256) -> list[np.ndarray]:
    return [values[i : i + size] for i in range(0, len(values), size)]
