"""A head that learns from labels which phrases matter."""

import numpy as np

from ctxvision.classifier.attention_head import train_attention_head
from ctxvision.classifier.head import probabilities_of
from ctxvision.layers import PhraseEmbeddings


def test_it_attends_to_the_phrases_that_tell():
    rng = np.random.default_rng(0)
    # Rows 0 to 2 name a label and share direction 0; the other rows share direction 1 and name none.
    embeddings = rng.normal(0, 0.3, (43, 12)).astype(np.float32)
    embeddings[:3, 0], embeddings[3:, 1] = 1, 1
    text = PhraseEmbeddings(12)
    text.assign(embeddings)
    labels = rng.integers(0, 3, 400).astype(np.int32)
    ids = np.column_stack([labels, rng.integers(3, 43, (400, 4))]).astype(np.int32)
    ids[::2, 4] = -1
    scores = np.where(ids < 0, -1, 0.5).astype(np.float32)
    features = [rng.normal(size=(400, 3)).astype(np.float32), ids, scores]
    head = train_attention_head(features, labels, 3, steps=300, seed=0, text=text)

    attention, factor = head.get_layer("context_pooling").get_weights()
    assert attention[0] - attention[1] > 0.2
    assert factor > 0
    assert (probabilities_of(head, features).argmax(axis=1) == labels).mean() > 0.95
    assert np.array_equal(text.rows[:43], embeddings)
    again = train_attention_head(features, labels, 3, steps=300, seed=0, text=text)
    np.testing.assert_allclose(probabilities_of(again, features), probabilities_of(head, features), atol=1e-4)
