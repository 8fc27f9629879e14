"""Suite `open-vocabulary`: phrases as answers, without a list of labels (Conti et al. 2023)."""

from collections.abc import Sequence

import numpy as np

from ctxvision.classifier.run import Run
from ctxvision.classifier.terms import Terms, terms_of
from ctxvision.context.quality import quality_by_queries, true_queries
from ctxvision.errors import InputError
from ctxvision.evaluation.features import short_name, shuffled, words_of
from ctxvision.evaluation.phrase_hits import found_phrases
from ctxvision.metrics import (
    cluster_accuracy,
    hit_at_k,
    phrase_hits,
    word_overlap,
)
from ctxvision.metrics.records import Record
from ctxvision.training.progress import Progress

DEPTHS = (1, 3, 5, 10)
# Lower ends of ranges of a true query's number of web pictures: 1 to 4, 5 to 19, ...
BUCKETS = (1, 5, 20, 100)


def open_vocabulary(run: Run, progress: Progress, seeds: int) -> list[Record]:
    """Compares the nearest phrases of every test picture with its true queries and its label's terms.

    True queries are the queries of the picture or, if test pictures have no queries, the queries whose web pictures
    mostly have the picture's label. The control `shuffled_phrases` takes the phrases of another picture, for each seed.

    Returns:
        Where there are true queries: `hit@k`, whether one of the first k phrases is a true query; `mrr@10`, the mean
        reciprocal rank of the first hit; `hit@1/count_LOW-HIGH` and `hit@10/count_LOW-HIGH`, the same for the true
        queries with so many web pictures, over the pictures that have such a query. For the first phrase and the
        label: `cluster_accuracy`; `semantic_similarity`, the cosine in text space to the label's closest term;
        `semantic_iou`, the intersection over union of words with the closest term.

    Raises:
        InputError: fewer than 10 phrases can be retrieved.
    """
    depth = max(DEPTHS)
    if run.context.num_retrievable() < depth:
        raise InputError(
            f"suite open-vocabulary needs a vocabulary of at least {depth} phrases, got {run.context.num_retrievable()}: "
            "give more queries."
        )
    records = []
    for number, split in enumerate(run.data.test_splits):
        progress.update(number / len(run.data.test_splits))
        found = np.array(found_phrases(run, split, depth), dtype=object)
        truth, labels = true_queries(run.data, split), run.data.label_ids(split)
        methods: list[tuple[str, int | None, np.ndarray]] = [("phrase_generator", None, found)]
        methods += [("shuffled_phrases", seed, shuffled(found, split, seed)) for seed in range(seeds)]
        for method, seed, phrases in methods:
            values = _by_label(run, phrases[:, 0].tolist(), labels)
            if truth is not None:
                values |= _by_queries(run, phrases.tolist(), truth)
            records += [
                Record(
                    suite="open-vocabulary",
                    data=run.data.name,
                    method=method,
                    vocabulary=int(run.context.phrase_table.live.sum()),
                    seed=seed,
                    split=short_name(split),
                    metric=metric,
                    value=value,
                )
                for metric, value in values.items()
            ]
    return records


def _by_queries(run: Run, found: list[list[str]], truth: list[set[str]]) -> dict[str, float]:
    values = quality_by_queries(found, truth, DEPTHS)
    log = run.data.query_log
    spoken = np.isin(log.languages, run.context.languages)
    counts = {text: int(log.counts[i]) for i, text in enumerate(log.phrases) if spoken[i]}
    for low, high in zip(BUCKETS, [*[low - 1 for low in BUCKETS[1:]], None]):
        within = [
            {query for query in queries if low <= counts.get(query, 0) <= (high or np.inf)}
            for queries in truth
        ]
        asked = [i for i, queries in enumerate(within) if queries]
        if asked:
            hits = phrase_hits([found[i] for i in asked], [within[i] for i in asked])
            name = f"count_{low}-{high}" if high else f"count_{low}+"
            values |= {f"hit@{k}/{name}": hit_at_k(hits, k) for k in (min(DEPTHS), max(DEPTHS))}
    return values


def _by_label(run: Run, first: Sequence[str], labels: np.ndarray) -> dict[str, float]:
    terms = terms_of(run.data.labels, run.data.manifest.label_terms)
    distinct = {phrase: i for i, phrase in enumerate(dict.fromkeys(first))}
    rows = [distinct[phrase] for phrase in first]
    similar = terms.per_label(run.context.embed_texts([*distinct]) @ run.context.embed_texts(terms.texts).T)
    overlap = terms.per_label(_overlaps([*distinct], terms))
    return {
        "cluster_accuracy": cluster_accuracy(first, labels.tolist()),
        "semantic_similarity": float(similar[rows, labels].mean()),
        "semantic_iou": float(overlap[rows, labels].mean()),
    }


def _overlaps(phrases: Sequence[str], terms: Terms) -> np.ndarray:
    words = [words_of(term) for term in terms.texts]
    return np.array([[word_overlap(words_of(phrase), other) for other in words] for phrase in phrases])
