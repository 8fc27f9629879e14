"""Explains an answer: the shares of the picture, the query embedding and each phrase."""

import tensorflow as tf

from ctxvision.layers.context_fusion import ContextFusion
from ctxvision.layers.context_pooling import ContextPooling
from ctxvision.models._coalitions import Coalitions, coalitions
from ctxvision.models.context_classifier import ContextClassifier
from ctxvision.models.phrase_context import FoundContext

# Probabilities are clipped to this distance from 0 and 1 before their log-odds are taken.
_EDGE = 1e-6
# Phrases whose text embeddings have at least this cosine are shown as one group.
ALIKE = 0.8


def explain(model: ContextClassifier, pixels: tf.Tensor, top: int = 3) -> dict[str, tf.Tensor]:
    """Splits the probability of each top label into shares of the picture, the query embedding and each phrase.

    A share is the Shapley value of the label's log-odds: what a part adds on average, over all orders in which the
    parts can be added. Phrases that say the same so share the credit. A part that is absent is replaced by its average
    over the training pictures (visual features, query embedding or context). Shares are converted to points of
    probability in proportion to the log-odds, so they sum to `scores` - `prior_scores`. Shapley values are exact for
    up to 10 phrases; for more they are sampled, always with the same orders.

    Args:
        model: a built `ContextClassifier`.
        pixels: [B, H, W, 3], uint8 or float in 0..255.
        top: number of labels, the most probable first; more than L gives L.

    Returns:
        A dict:
        `label_ids` int32 [B, top];
        `scores` float32 [B, top], the labels' probabilities;
        `prior_scores` float32 [B, top], their probabilities with every part absent;
        `shares` float32 [B, top, k], of each phrase; below 0 the phrase speaks against the label;
        `visual` float32 [B, top], of the visual features;
        `query` float32 [B, top], of the query embedding apart from the phrases that it found;
        `groups` int32 [B, k], for each phrase the place of the first phrase with nearly the same meaning (text
        embeddings of cosine 0.8 or more), to show them together;
        `phrases` string [B, k], "" for a missing phrase;
        `phrase_scores` float32 [B, k];
        `phrase_ids` int32 [B, k], row numbers of the phrase table, -1 for a missing phrase.

    Example:
        >>> explained = cv.explain(cv.Run("runs/photos").classifier, pixels, top=1)
        >>> explained["visual"].shape, explained["shares"].shape
        (TensorShape([4, 1]), TensorShape([4, 1, 3]))
    """
    queries, visual = model.embed(pixels)
    return explain_found(model, model.find_context(queries), visual, queries, top)


def explain_found(
    model: ContextClassifier, found: FoundContext, visual: tf.Tensor, queries: tf.Tensor, top: int = 3
) -> dict[str, tf.Tensor]:
    """Works as `explain`, for pictures whose phrases and features are known.

    Args:
        model: a built `ContextClassifier`.
        found: the phrases of B pictures.
        visual: float32 [B, D], visual features.
        queries: float32 [B, 64], query embeddings.
        top: number of labels; more than L gives L.

    Returns:
        The dict that `explain` returns.
    """
    fusion, parts = model.fusion, coalitions(found.scores.shape[1])
    top = min(top, fusion.num_labels)

    def one_picture(row: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, ...]:
        """Explains one picture; the coalitions of a whole batch would not fit into memory."""
        embeddings, scores, seen, query = row
        contexts = _contexts(fusion, model.pooling, embeddings, scores, parts)
        probabilities = fusion.probabilities(_logits(fusion, seen, query, contexts, parts))
        values, label_ids = tf.math.top_k(probabilities[parts.whole], top)
        own = tf.clip_by_value(tf.gather(probabilities, label_ids, axis=1), _EDGE, 1 - _EDGE)
        log_odds = tf.math.log(own) - tf.math.log1p(-own)
        shares = tf.constant(parts.weights) @ log_odds
        prior = tf.gather(probabilities[parts.none], label_ids)
        total = log_odds[parts.whole] - log_odds[parts.none]
        # The ratio tends to the slope of the probability if the log-odds do not change.
        flat = tf.abs(total) < 1e-3
        ratio = tf.where(flat, values * (1 - values), (values - prior) / tf.where(flat, 1.0, total))
        return label_ids, values, prior, shares * ratio

    rows = (found.embeddings, found.scores, visual, queries)
    types = (tf.int32, tf.float32, tf.float32, tf.float32)
    label_ids, scores, prior, shares = tf.map_fn(one_picture, rows, fn_output_signature=types)
    return {
        "label_ids": label_ids,
        "scores": scores,
        "prior_scores": prior,
        "shares": tf.transpose(shares[:, 2:], [0, 2, 1]),
        "visual": shares[:, 0],
        "query": shares[:, 1],
        "groups": _groups(found.embeddings),
        "phrases": model.phrases_of(found.ids),
        "phrase_scores": found.scores,
        "phrase_ids": found.ids,
    }


def _groups(embeddings: tf.Tensor) -> tf.Tensor:
    """Returns int32 [B, k]: for each phrase, the place of the first phrase with nearly the same text embedding."""
    alike = tf.matmul(embeddings, embeddings, transpose_b=True) >= ALIKE
    k = embeddings.shape[1]
    places = tf.broadcast_to(tf.range(k), tf.shape(alike))
    itself = tf.broadcast_to(tf.eye(k, dtype=tf.bool), tf.shape(alike))
    return tf.reduce_min(tf.where(alike | itself, places, k), axis=2)


def _contexts(
    fusion: ContextFusion,
    pooling: ContextPooling,
    embeddings: tf.Tensor,
    scores: tf.Tensor,
    parts: Coalitions,
) -> tf.Tensor:
    """Returns the contexts float32 [S, T] of all subsets of a picture's phrases; the empty subset gives the average."""
    left = tf.where(tf.constant(parts.subsets), scores, -1.0)
    every = tf.broadcast_to(embeddings, tf.concat([[len(parts.subsets)], tf.shape(embeddings)], axis=0))
    pooled = pooling([every, left])
    some = tf.reduce_any(left > -1.0, axis=1, keepdims=True)
    # A picture without any phrase has the same context in all coalitions.
    found = tf.reduce_any(scores > -1.0)
    return tf.where(some | ~found, pooled, fusion.average_input(1))


def _logits(
    fusion: ContextFusion, visual: tf.Tensor, query: tf.Tensor, contexts: tf.Tensor, parts: Coalitions
) -> tf.Tensor:
    """Returns the logits of all coalitions, float32 [V, L]; each member runs once per distinct input."""
    pictures = tf.stack([fusion.average_input(0), tf.cast(visual, tf.float32)])
    if fusion.fusion != "pool":
        # A joint head sees each picture with each context, and no query embedding.
        number = tf.shape(contexts)[0]
        joint = fusion.members[0]([tf.repeat(pictures, number, axis=0), tf.tile(contexts, [2, 1])])
        rows = parts.picture * len(parts.subsets) + parts.phrases
        return fusion.logits([tf.gather(joint, rows)])
    queries = tf.stack([fusion.average_input(2), tf.cast(query, tf.float32)])
    visual_member, context_member, query_member = fusion.members
    logits = [
        tf.gather(visual_member([pictures]), parts.picture),
        tf.gather(context_member([contexts]), parts.phrases),
        tf.gather(query_member([queries]), parts.query),
    ]
    if fusion.label_terms is not None:
        terms, (of_query, of_phrases) = fusion.label_terms, parts.pairs.T
        both = tf.gather(terms.of_queries(queries), of_query)
        both += tf.gather(terms.of_contexts(contexts), of_phrases)
        logits.append(tf.gather(terms.closest(both), parts.pair))
    return fusion.logits(logits)


def without_phrases(
    pooling: ContextPooling,
    fusion: ContextFusion,
    visual: tf.Tensor,
    queries: tf.Tensor,
    embeddings: tf.Tensor,
    scores: tf.Tensor,
    removed: tf.Tensor,
) -> tf.Tensor:
    """Returns the probabilities of each picture in V variants that each lack some of its phrases.

    Args:
        pooling: the model's pooling layer.
        fusion: the model's fusion layer; it must be a pool.
        visual: float32 [B, D], visual features.
        queries: float32 [B, 64], query embeddings.
        embeddings: float32 [B, k, T], text embeddings of the phrases.
        scores: float32 [B, k], of the phrases.
        removed: bool [B, V, k], the phrases that each variant lacks.

    Returns:
        float32 [B, V, L].
    """
    batch, variants, k = tf.unstack(tf.shape(removed))
    left = tf.where(removed, -1.0, scores[:, tf.newaxis, :])
    repeated = tf.repeat(embeddings, variants, axis=0)
    contexts = pooling([repeated, tf.reshape(left, [-1, k])])
    seen = [tf.repeat(visual, variants, axis=0), contexts, tf.repeat(queries, variants, axis=0)]
    probabilities = fusion(seen)
    return tf.reshape(probabilities, [batch, variants, probabilities.shape[-1]])
