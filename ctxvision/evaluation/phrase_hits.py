"""Suite `phrases`: is one of the first phrases what people searched for to find such a picture?"""

from collections import Counter, defaultdict

import numpy as np

from ctxvision.evaluation.features import short_name
from ctxvision.evaluation.records import Record, save_records
from ctxvision.metrics import hit_at_k, phrase_hits
from ctxvision.training.context import nearest_phrases
from ctxvision.training.run import Run

DEPTH = 3


def measure_phrases(run: Run) -> list[Record]:
    """Writes `hit@1` and `hit@3` of the retrieved phrases on every test split that can be judged.

    A phrase hits when it is a query of the picture itself; where the test pictures carry no queries, when most of
    the web pictures it led to have the picture's label. Without either there is nothing to judge by.
    """
    records = []
    for split in run.data.test_splits:
        truth = true_queries(run, split)
        if truth is None:
            continue
        hits = phrase_hits(found_phrases(run, split, DEPTH), truth)
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


def found_phrases(run: Run, split: str, depth: int) -> list[list[str]]:
    """The `depth` phrases nearest to each picture, best first; "" where there are fewer."""
    phrases, (ids, _) = run.phrase_table.phrases, nearest_phrases(run, split, depth)
    texts = {i: phrases[i] for i in np.unique(ids).tolist() if i >= 0}
    return [[texts.get(i, "") for i in row] for row in ids.tolist()]


def true_queries(run: Run, split: str) -> list[set[str]] | None:
    """What people searched for to find each picture, or would have: see `measure_phrases`; None without either."""
    rows = run.data.split(split)
    if any(rows.queries):
        return [{query.text for query in queries} for queries in rows.queries]
    if "web" not in run.data.manifest.splits:
        return None
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
