"""What each phrase, and the picture itself, adds to the answer."""

from collections.abc import Callable

import tensorflow as tf

from ctxvision.layers.context_pooling import ContextPooling
from ctxvision.models.context_classifier import ContextClassifier
from ctxvision.models.phrase_context import FoundContext


def explain(model: ContextClassifier, pixels: tf.Tensor, top: int = 3) -> dict[str, tf.Tensor]:
    """Leaves one phrase out at a time and reads how far each top label's probability falls.

    Args:
        model: a built `ContextClassifier`.
        pixels: [B, H, W, 3], uint8 or float in 0..255.
        top: how many labels, the most probable first; at most L.

    Returns:
        A dict: `label_ids` int32 [B, top]; `scores` float32 [B, top], their probabilities; `shares` float32
        [B, top, k], the probability with all phrases minus that without phrase j (below 0: the phrase spoke
        against the label); `visual` float32 [B, top], the probability minus that with an average picture's visual
        features; `phrases` string [B, k] and `phrase_scores` float32 [B, k].
    """
    queries, visual = model.embed(pixels)
    return explain_found(model, model.find_context(queries), visual, top)


def explain_found(
    model: ContextClassifier, found: FoundContext, visual: tf.Tensor, top: int = 3
) -> dict[str, tf.Tensor]:
    """As `explain`, of pictures whose phrases and features are known.

    Args:
        model, top: as above.
        found: the phrases of B pictures.
        visual: float32 [B, D], visual features.

    Returns:
        As `explain`, and `phrase_ids` int32 [B, k], row numbers of the phrase table, -1 where there is none.
    """
    k = found.scores.shape[1]

    # Variant 0 has every phrase; variant j + 1 lacks phrase j.
    removed = tf.concat([tf.zeros([1, k], tf.bool), tf.eye(k, dtype=tf.bool)], axis=0)
    removed = tf.repeat(removed[tf.newaxis], tf.shape(found.scores)[0], axis=0)
    probabilities = without_phrases(
        model.pooling, model.fusion, visual, found.embeddings, found.scores, removed
    )

    whole = probabilities[:, 0]
    values, label_ids = tf.math.top_k(whole, min(top, model.fusion.num_labels))
    without = tf.gather(probabilities[:, 1:], label_ids, axis=2, batch_dims=1)
    average = tf.broadcast_to(model.fusion.average_input(0), tf.shape(visual))
    unseen = model.fusion([average, found.vector])
    return {
        "label_ids": label_ids,
        "scores": values,
        "shares": values[:, :, tf.newaxis] - tf.transpose(without, [0, 2, 1]),
        "visual": values - tf.gather(unseen, label_ids, axis=1, batch_dims=1),
        "phrases": model.phrases_of(found.ids),
        "phrase_scores": found.scores,
        "phrase_ids": found.ids,
    }


def without_phrases(
    pooling: ContextPooling,
    fusion: Callable[[list[tf.Tensor]], tf.Tensor],
    visual: tf.Tensor,
    embeddings: tf.Tensor,
    scores: tf.Tensor,
    removed: tf.Tensor,
) -> tf.Tensor:
    """The probabilities of each picture without some of its phrases, in V variants.

    Args:
        pooling, fusion: of a model, or any head of [visual, context].
        visual: float32 [B, D].
        embeddings: float32 [B, k, text dim], of the phrases.
        scores: float32 [B, k], of the phrases.
        removed: bool [B, V, k], which phrases each variant lacks.

    Returns:
        float32 [B, V, L].
    """
    batch, variants, k = tf.unstack(tf.shape(removed))
    left = tf.where(removed, -1.0, scores[:, tf.newaxis, :])
    repeated = tf.repeat(embeddings, variants, axis=0)
    contexts = pooling([repeated, tf.reshape(left, [-1, k])])
    probabilities = fusion([tf.repeat(visual, variants, axis=0), contexts])
    return tf.reshape(probabilities, [batch, variants, probabilities.shape[-1]])
