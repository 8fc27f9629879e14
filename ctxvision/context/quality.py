"""Measures the phrases of a context against the true queries of pictures."""

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from ctxvision.context.context import Context
from ctxvision.metrics import filtered_ranks, hit_at_k, mean_reciprocal_rank, phrase_hits
from ctxvision.training.loaded_data import LoadedData

# Text recall is measured on at most this many pairs of queries.
MOST_PAIRS = 2000
TEXT_DEPTHS = (1, 10)


def true_queries(data: LoadedData, split: str) -> list[set[str]] | None:
    """Returns the queries that are true of each picture of a split.

    These are the picture's own queries. If no picture of the split has queries, they are the queries whose `web`
    pictures mostly have the picture's label. Returns None if the data has neither.
    """
    rows = data.split(split)
    if any(rows.queries):
        return [{query.text for query in queries} for queries in rows.queries]
    if "web" not in data.manifest.splits:
        return None
    web = data.manifest.split("web")  # not `data.split`, which would decode the pictures
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


def quality_by_queries(
    found: Sequence[Sequence[str]], truth: Sequence[set[str]], depths: Sequence[int]
) -> dict[str, float]:
    """Returns `hit@k` at each depth and `mrr@K` at the largest, 0..1, of each picture's phrases, best first."""
    hits = phrase_hits(found, truth)
    values = {f"hit@{k}": hit_at_k(hits, k) for k in depths}
    return values | {f"mrr@{max(depths)}": mean_reciprocal_rank(hits)}


def text_recall(context: Context, data: LoadedData, split: str) -> dict[str, float]:
    """Measures how often the text encoder finds another query of the same picture.

    A pair is two queries of one picture of the split. The text embedding of the first query searches the retrievable
    phrases for the second. Other queries that share a picture with the first query do not count as rivals.

    Returns:
        `text_recall@1` and `text_recall@10`, 0..1, over at most 2,000 pairs; empty if no picture has two queries.
    """
    table = context.phrase_table
    kept = context.retrievable_ids()
    column = np.full(len(table), -1)
    column[kept] = np.arange(len(kept))
    partners: dict[str, set[int]] = defaultdict(set)
    pairs: set[tuple[str, int]] = set()
    for queries in data.split(split).queries:
        texts = [query.text for query in queries if query.language in context.languages]
        ids = table.ids(texts) if texts else np.zeros(0, int)
        columns = [int(column[i]) if i >= 0 else -1 for i in ids]
        for text, own in zip(texts, columns):
            others = {one for one in columns if one >= 0}
            partners[text] |= others
            pairs |= {(text, one) for one in others - {own}}
    if not pairs:
        return {}
    ordered = sorted(pairs)
    rng = np.random.default_rng(context.config.seed)
    chosen = [ordered[i] for i in np.sort(rng.permutation(len(ordered))[:MOST_PAIRS])]
    texts = [text for text, _ in chosen]
    distinct = list(dict.fromkeys(texts))
    embeddings = context.embed_texts(distinct)
    vectors = embeddings[[distinct.index(text) for text in texts]]
    scores = vectors @ context.text_embeddings(kept).T
    targets = np.array([target for _, target in chosen])
    ranks = filtered_ranks(scores, targets, [sorted(partners[text]) for text in texts])
    return {f"text_recall@{k}": float((ranks < k).mean()) for k in TEXT_DEPTHS}
