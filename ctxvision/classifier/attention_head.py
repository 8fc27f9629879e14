"""Trains a head that learns, together with the fusion, which phrases to attend to."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from ctxvision.classifier.head import batches
from ctxvision.layers import ContextFusion, ContextPooling, PhraseEmbeddings
from ctxvision.training.fit import cosine_adamw, fit
from ctxvision.training.strategies import building, steps_per_execution


def train_attention_head(
    features: Sequence[np.ndarray],
    targets: np.ndarray,
    num_labels: int,
    steps: int,
    seed: int,
    text: PhraseEmbeddings,
) -> keras.Model:
    """Trains `ContextPooling("attention")` and `ContextFusion` as one model, as `train_head` trains the fusion.

    Phrases are passed as row numbers, and their embeddings are looked up per batch, so that N · k · D floats are never
    in memory.

    Args:
        features: visual features float32 [N, D], and `nearest_phrases` of the same pictures.
        targets, num_labels, steps, seed: see `train_head`; targets are label numbers.
        text: frozen layer from row numbers to text embeddings.

    Returns:
        A model from the list of features to probabilities [N, L].
    """
    strategy = tf.distribute.get_strategy()
    with building(strategy):
        head = attention_head_model(features, num_labels, seed, text)
        head.compile(
            cosine_adamw(1e-3, steps, weight_decay=0.05),
            "sparse_categorical_crossentropy",
            steps_per_execution=steps_per_execution(strategy),
        )
    fit(head, batches(features, targets, steps, seed))
    return head


def attention_head_model(
    features: Sequence[np.ndarray], num_labels: int, seed: int, text: PhraseEmbeddings, **fusion: Any
) -> keras.Model:
    """Returns the model that `train_attention_head` trains for features of these widths; `fusion`: see `train_head`."""
    keras.utils.set_random_seed(seed)
    visual, ids, scores = (keras.Input(part.shape[1:], dtype=part.dtype) for part in features)
    context = ContextPooling("attention", name="context_pooling")([text(ids), scores])
    fused = ContextFusion(num_labels, seed=seed, name="context_fusion", **fusion)([visual, context])
    return keras.Model([visual, ids, scores], fused)
