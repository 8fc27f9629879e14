"""Pairs for tests, and the contents of their table."""

import numpy as np

LARGE = "100GB"  # more than earlier tests can have left in the process


def content(table):
    """Lists the contents of a table, to the last bit."""
    return (
        list(table.phrases),
        table.prototypes.tobytes(),
        table.counts.tolist(),
        list(table.languages),
        table.prototypes.dtype,
        table.ngrams and (table.ngrams.ids.tobytes(), table.ngrams.hash_buckets),
    )


def some_pairs(number=400, queries=60, dim=5, seed=0):
    rng = np.random.default_rng(seed)
    names = [f"q{i % 20}" if i % 3 else f"größe {i}" for i in rng.integers(0, queries, number).tolist()]
    languages = [("en", "de", "", None)[i] for i in rng.integers(0, 4, number).tolist()]
    return list(zip(names, rng.normal(size=(number, dim)).astype(np.float32), languages))


def batched(pairs, size):
    for start in range(0, len(pairs), size):
        queries, embeddings, languages = zip(*pairs[start : start + size])
        yield list(queries), np.stack(embeddings), list(languages)
