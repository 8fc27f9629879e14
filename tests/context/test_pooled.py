"""The phrases of pictures, compared with a search by hand."""

import numpy as np

from ctxvision.context.pooled import contexts_of, nearest_phrases


def test_nearest_phrases_and_their_context(tiny_run):
    table, queries = tiny_run.context.phrase_table, tiny_run.query_embeddings("test:hard")
    ids, scores = nearest_phrases(tiny_run.context, queries, 3)
    english = np.flatnonzero(np.array(table.languages) == "en")
    counts = np.asarray(table.counts)[english]
    similarity = queries @ np.asarray(table.prototypes, np.float32)[english].T * (counts / (counts + 1))
    # Queries that always come together have one prototype: which of them comes first is left open.
    np.testing.assert_allclose(scores, -np.sort(-similarity, axis=1)[:, :3], atol=1e-5)
    places = np.searchsorted(english, ids)
    np.testing.assert_array_equal(english[places], ids)
    np.testing.assert_allclose(np.take_along_axis(similarity, places, axis=1), scores, atol=1e-5)
    assert all(len(set(row)) == 3 for row in ids.tolist())

    found, same_ids = contexts_of(tiny_run.context, queries, 3, "uniform")
    np.testing.assert_array_equal(same_ids, ids)
    embeddings = tiny_run.context.embed_texts(list(table.phrases))
    np.testing.assert_allclose(found, embeddings[ids].mean(axis=1), atol=1e-5)
    np.testing.assert_allclose(tiny_run.context.phrase_embeddings(ids), embeddings[ids], atol=1e-6)
