import numpy as np
import tensorflow as tf

from ctxvision.losses import log_uniform_sample, sampled_softmax_loss


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def full_loss(embeddings, table, true, scale):
    """Each picture's mean cross-entropy, without its other true classes in the denominator."""
    losses = []
    for embedding, classes in zip(embeddings, true, strict=True):
        logits = scale * table @ embedding
        classes = [c for c in classes if c >= 0]
        others = np.exp(np.delete(logits, classes)).sum()
        terms = [np.log(np.exp(logits[c]) + others) - logits[c] for c in classes]
        losses.append(np.mean(terms) if terms else 0.0)
    return np.array(losses)


def problem(num_classes=50, dim=8, seed=0):
    rng = np.random.default_rng(seed)
    embeddings = unit(rng.normal(size=(4, dim))).astype(np.float32)
    table = unit(rng.normal(size=(num_classes, dim))).astype(np.float32)
    true = np.array([[3, -1, -1], [0, 7, 11], [49, 2, -1], [-1, -1, -1]], np.int32)
    return embeddings, table, true


def loss_of(embeddings, table, true, classes, log_expected, scale=4.0):
    true_rows = tf.gather(table, np.maximum(true, 0))
    return sampled_softmax_loss(
        embeddings, true_rows, true, tf.gather(table, classes), classes, log_expected, scale
    )


def test_all_classes_as_the_sample_is_the_full_softmax():
    embeddings, table, true = problem()
    loss = loss_of(embeddings, table, true, tf.range(50), tf.zeros([50]))
    np.testing.assert_allclose(loss, full_loss(embeddings, table, true, 4.0), atol=1e-5)


def test_two_classes_by_hand():
    embedding, table = np.array([[1.0, 0.0]], np.float32), np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    loss = loss_of(
        embedding, table, np.array([[0]], np.int32), tf.constant([1]), tf.math.log([2.0]), scale=3.0
    )
    # The true logit is 3. The sampled logit is 0 - log 2: the sample counts as half a class.
    np.testing.assert_allclose(loss, [np.log(np.exp(3.0) + 0.5) - 3.0], rtol=1e-5)


def test_an_accidental_hit_is_no_negative():
    embeddings, table, true = problem()
    with_hit = loss_of(embeddings[:1], table, true[:1], tf.constant([3, 9]), tf.zeros([2]))
    without = loss_of(embeddings[:1], table, true[:1], tf.constant([9]), tf.zeros([1]))
    np.testing.assert_allclose(with_hit, without, atol=1e-6)


def test_draws_follow_zipf_and_the_correction_is_their_expected_number():
    classes, log_expected = log_uniform_sample(tf.constant([1, 2]), 200_000, 10)
    drawn = np.bincount(classes, minlength=10)
    expected = 200_000 * np.log((np.arange(10) + 2) / (np.arange(10) + 1)) / np.log(11)
    np.testing.assert_allclose(drawn, expected, rtol=0.03)
    np.testing.assert_allclose(np.exp(log_expected), expected[classes], rtol=1e-4)


def test_the_same_seed_draws_the_same_sample():
    first, second = (log_uniform_sample(tf.constant([5, 6]), 64, 1000)[0] for _ in range(2))
    other = log_uniform_sample(tf.constant([5, 7]), 64, 1000)[0]
    assert np.array_equal(first, second) and not np.array_equal(first, other)


def test_expectation_and_gradient_approach_the_full_softmax():
    """More draws come nearer to the full softmax, and the mean gradient of many samples equals its gradient."""
    embeddings, table, true = problem()
    full = full_loss(embeddings, table, true, 4.0)
    x = tf.constant(embeddings)

    def mean_over_samples(num_sampled, repeats):
        losses, gradients = [], []
        for seed in range(repeats):
            classes, log_expected = log_uniform_sample(tf.constant([seed, 0]), num_sampled, 50)
            with tf.GradientTape() as tape:
                tape.watch(x)
                loss = loss_of(x, table, true, classes, log_expected)
            losses.append(loss)
            gradients.append(tape.gradient(loss, x))
        return np.mean(losses, axis=0), np.mean(gradients, axis=0)

    with tf.GradientTape() as tape:
        tape.watch(x)
        exact = loss_of(x, table, true, tf.range(50), tf.zeros([50]))
    exact_gradient = tape.gradient(exact, x)
    # The loss of one sample of 20,000 draws has a deviation of 0.02, and the mean of 20 samples one of 0.005.
    few, _ = mean_over_samples(5, 20)
    many, gradient = mean_over_samples(20_000, 20)
    assert np.abs(many - full).max() < 0.02
    assert np.abs(many - full).max() < np.abs(few - full).max()
    np.testing.assert_allclose(gradient, exact_gradient, atol=0.03)
