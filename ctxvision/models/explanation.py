"""What each phrase, and the picture itself, adds to the answer."""

import tensorflow as tf

from ctxvision.models.context_classifier import ContextClassifier


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
    found = model.retrieval(model.phrase_generator(pixels))
    embeddings = model.text(found.ids)
    visual = model.visual_encoder(pixels)
    batch, k = tf.shape(found.scores)[0], found.scores.shape[1]

    # Variant 0 has every phrase; variant j + 1 lacks phrase j.
    leave_out = tf.concat([tf.zeros([1, k], tf.bool), tf.eye(k, dtype=tf.bool)], axis=0)
    scores = tf.where(leave_out, -1.0, found.scores[:, tf.newaxis, :])
    repeated = tf.repeat(embeddings, k + 1, axis=0)
    contexts = model.pooling([repeated, tf.reshape(scores, [-1, k])])
    probabilities = model.fusion([tf.repeat(visual, k + 1, axis=0), contexts])
    probabilities = tf.reshape(probabilities, [batch, k + 1, model.fusion.num_labels])

    whole = probabilities[:, 0]
    values, label_ids = tf.math.top_k(whole, min(top, model.fusion.num_labels))
    without = tf.gather(probabilities[:, 1:], label_ids, axis=2, batch_dims=1)
    average = tf.broadcast_to(model.fusion.average_input(0), tf.shape(visual))
    unseen = model.fusion([average, model.pooling([embeddings, found.scores])])
    return {
        "label_ids": label_ids,
        "scores": values,
        "shares": values[:, :, tf.newaxis] - tf.transpose(without, [0, 2, 1]),
        "visual": values - tf.gather(unseen, label_ids, axis=1, batch_dims=1),
        "phrases": found.phrases,
        "phrase_scores": found.scores,
    }
