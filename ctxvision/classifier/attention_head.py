"""A head that learns which phrases to attend to, together with the fusion."""

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
    """Trains `ContextPooling("attention")` and `ContextFusion` as one, as `train_head` trains the latter.

    Phrases stay row numbers, whose embeddings are looked up a batch at a time: N · k · D floats are never held.

    Args:
        features: visual float32 [N, D], and `nearest_phrases` of the same pictures.
        targets, num_labels, steps, seed: of `train_head`; label numbers alone.
        text: from row numbers to embeddings, frozen.

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
    """The model that `train_attention_head` trains, for features of these widths; `fusion`: as for `train_head`."""
    keras.utils.set_random_seed(seed)
    visual, ids, scores = (keras.Input(part.shape[1:], dtype=part.dtype) for part in features)
    context = ContextPooling("attention", name="context_pooling")([text(ids), scores])
    fused = ContextFusion(num_labels, seed=seed, name="context_fusion", **fusion)([visual, context])
    return keras.Model([visual, ids, scores], fused)
