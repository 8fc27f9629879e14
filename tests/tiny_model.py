"""Builds a classifier with random weights in a second."""

from collections.abc import Sequence

import numpy as np
import tf_keras as keras

import ctxvision as cv

IMAGE_SIZE = 16
LABELS = ["cat", "dog", "bird", "größe"]


def tiny_table(rows: int = 12) -> cv.PhraseTable:
    """Writes random prototypes of English, German and French phrases in turn; every fourth has the flag `adult`."""
    phrases = [f"phrase {i}" for i in range(rows)]
    prototypes = np.random.default_rng(0).normal(size=(rows, 64))
    languages = [("en", "de", "fr")[i % 3] for i in range(rows)]
    flags = {"adult": np.arange(rows) % 4 == 0}
    return cv.PhraseTable.from_arrays(phrases, prototypes, languages=languages, flags=flags)


def tiny_classifier(
    backend: str = "exact",
    rows: int = 12,
    k: int = 3,
    labels: Sequence[str] = LABELS,
    dropout: float = 0.5,
    fusion: str = "pool",
    terms: int = 0,
) -> cv.ContextClassifier:
    """Builds a model of `labels` over `rows` phrases; its random head is sharp, so answers differ by picture."""
    keras.utils.set_random_seed(0)
    table = tiny_table(rows)
    text = cv.DualEncoderText(dim=10, hash_buckets=64, name="dual_encoder_text")
    embeddings = cv.PhraseEmbeddings(encoder=text, name="phrase_embeddings", trainable=False)
    embeddings.assign(text.ngrams(list(table.phrases)))
    model = cv.ContextClassifier(
        cv.PhraseGenerator(_tower(4), name="phrase_generator"),
        cv.PrototypeRetrieval(k, backend, name="prototype_retrieval").index(table),
        embeddings,
        cv.VisualEncoder(_tower(6), name="visual_encoder"),
        cv.ContextFusion(len(labels), fusion, hidden=16, dropout=dropout, terms=terms, name="context_fusion"),
        labels,
    )
    linear = model.fusion.members[0].output_stage.kernel
    if fusion == "pool":  # a pool's last layers start from zeros
        linear.assign(np.random.default_rng(0).normal(0, 0.3, linear.shape))
    for weight in model.fusion.trainable_weights:
        weight.assign(weight * 3.0)
    return model


def _tower(channels: int) -> keras.Model:
    """Returns one convolution, because tracing a ResNet would take most of a test's time."""
    pixels = keras.Input((IMAGE_SIZE, IMAGE_SIZE, 3))
    x = keras.layers.Rescaling(1 / 64.0, offset=-2.0)(pixels)
    x = keras.layers.Conv2D(channels, 5, 4, activation="relu")(x)
    return keras.Model(pixels, keras.layers.Flatten()(x))
