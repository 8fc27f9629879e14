"""Sampled softmax over a large vocabulary."""

import tensorflow as tf


def log_uniform_sample(seed: tf.Tensor, num_sampled: int, num_classes: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Draws classes with replacement, class c with probability log((c+2)/(c+1)) / log(num_classes+1).

    The distribution approximates Zipf's law for classes sorted by falling count. It uses stateless ops, so the same
    seed gives the same sample, and XLA compiles the training step.

    Args:
        seed: int [2], a new seed for every step.
        num_sampled: S, number of draws.
        num_classes: V, number of classes.

    Returns:
        int32 [S] classes, and float32 [S] logarithms of their expected numbers of draws (the log-Q correction).
    """
    span = tf.math.log(tf.cast(num_classes + 1, tf.float32))
    uniform = tf.random.stateless_uniform([num_sampled], seed)
    classes = tf.cast(tf.exp(uniform * span), tf.int32) - 1
    classes = tf.clip_by_value(classes, 0, num_classes - 1)
    position = tf.cast(classes, tf.float32)
    probability = tf.math.log1p(1.0 / (position + 1.0)) / span
    return classes, tf.math.log(probability * num_sampled)


def sampled_softmax_loss(
    embeddings: tf.Tensor,
    true_rows: tf.Tensor,
    true_classes: tf.Tensor,
    sampled_rows: tf.Tensor,
    sampled_classes: tf.Tensor,
    log_expected_count: tf.Tensor,
    scale: float,
) -> tf.Tensor:
    """Computes the cross-entropy of each picture's true queries against a sample of all queries (section 3.2).

    The logit of picture x and class c is scale · cos(x, c); Eq. 1 has scale 1. The logit of a sampled class is
    reduced by the logarithm of its expected number of draws, so that the sum over the sample estimates the sum over
    all classes. An accidental hit, a sampled class that is a true query of the picture, is left out. With
    `sampled_classes` = all classes and `log_expected_count` = 0 this is the full softmax.

    Args:
        embeddings: float32 [B, D], L2-normalised.
        true_rows: float32 [B, Q, D], the L2-normalised class weights of the true queries.
        true_classes: int32 [B, Q], padded with -1.
        sampled_rows: float32 [S, D], the L2-normalised class weights of the sample.
        sampled_classes: int32 [S].
        log_expected_count: float32 [S], from `log_uniform_sample`.
        scale: factor of the logits.

    Returns:
        float32 [B], the mean over each picture's true queries; 0 for a picture without queries.
    """
    present = tf.cast(true_classes >= 0, tf.float32)
    true_logits = scale * tf.einsum("bd,bqd->bq", embeddings, true_rows)
    logits = scale * tf.matmul(embeddings, sampled_rows, transpose_b=True) - log_expected_count
    hit = tf.reduce_any(true_classes[:, :, tf.newaxis] == sampled_classes, axis=1)
    others = tf.reduce_logsumexp(tf.where(hit, -1e9, logits), axis=-1, keepdims=True)
    losses = tf.math.softplus(others - true_logits) * present
    return tf.math.divide_no_nan(tf.reduce_sum(losses, axis=-1), tf.reduce_sum(present, axis=-1))
