import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from ctxvision.data.associations import association_batches
from ctxvision.layers.dual_encoder_text import DualEncoderText
from ctxvision.models.siamese_text import SiameseText


def batch(left_ids, right_ids, ngrams):
    ngrams = tf.constant(ngrams, tf.int32)
    return {
        "left_ngrams": tf.gather(ngrams, left_ids),
        "right_ngrams": tf.gather(ngrams, right_ids),
        "left_ids": tf.constant(left_ids),
        "right_ids": tf.constant(right_ids),
    }


def model_with_table(table, scale):
    encoder = DualEncoderText(dim=len(table[0]), hash_buckets=len(table) - 1, max_ngrams=1)
    encoder.ngram_table.assign(table)
    model = SiameseText(encoder, scale=scale)
    model.compile(keras.optimizers.Adagrad(0.1))
    return model


def loss_of(model, inputs):
    return float(model.compute_loss(inputs, y_pred=model(inputs)))


def test_loss_by_hand():
    # Left and right are unit vectors: cosine 1 with the partner, 0 with the other, in both directions.
    model = model_with_table([[0, 0], [2, 0], [0, 3]], scale=2.0)
    inputs = batch([0, 1], [2, 3], [[1], [2], [1], [2]])
    assert loss_of(model, inputs) == pytest.approx(np.log(1 + np.exp(-2)), abs=1e-6)


def test_accidental_hits_are_removed_in_both_directions():
    # Every other candidate equals the partner, so no negative remains.
    model = model_with_table([[0, 0], [2, 0], [0, 3]], scale=2.0)
    assert loss_of(model, batch([0, 0], [1, 1], [[1], [2]])) == pytest.approx(0, abs=1e-6)


def test_a_query_is_not_its_own_negative():
    # The other right query equals the left one, so no negative remains.
    model = model_with_table([[0, 0], [2, 0], [0, 3]], scale=2.0)
    assert loss_of(model, batch([0, 1], [1, 0], [[1], [2]])) == pytest.approx(0, abs=1e-6)


def test_loss_is_the_in_batch_softmax():
    rng = np.random.default_rng(0)
    table = rng.normal(size=(8, 3))
    left, right = [0, 1, 2, 5, 0], [3, 4, 3, 1, 6]
    unit = table[1:] / np.linalg.norm(table[1:], axis=1, keepdims=True)

    def one_way(queries, partners):
        losses = []
        for query, partner in zip(queries, partners, strict=True):
            logits = {c: 5 * unit[query] @ unit[c] for c in partners if c not in (query, partner)}
            negatives = sum(np.exp(logits[c]) for c in partners if c in logits)
            positive = np.exp(5 * unit[query] @ unit[partner])
            losses.append(-np.log(positive / (positive + negatives)))
        return np.mean(losses)

    expected = (one_way(left, right) + one_way(right, left)) / 2
    inputs = batch(left, right, [[i + 1] for i in range(7)])
    assert loss_of(model_with_table(table, scale=5.0), inputs) == pytest.approx(expected, rel=1e-5)


def test_fit_reports_the_loss_and_touches_only_rows_of_the_batch():
    table = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    model = model_with_table(table, scale=5.0)
    inputs = batch([0, 1], [2, 3], [[i + 1] for i in range(7)])
    before = loss_of(model, inputs)
    history = model.fit(tf.data.Dataset.from_tensors(inputs), verbose=0).history
    assert list(history) == ["loss"] and history["loss"][0] == pytest.approx(before, rel=1e-5)
    after = model.text_encoder.ngram_table.numpy()
    moved = np.abs(after - table).sum(axis=1) > 0
    assert moved.tolist() == [False, True, True, True, True, False, False, False]
    assert model.evaluate(tf.data.Dataset.from_tensors(inputs), verbose=0) < before


def test_training_brings_queries_of_one_picture_together():
    animals = ["cat", "kitten", "tabby", "mouser"]
    cars = ["car", "coupe", "roadster", "convertible"]
    encoder = DualEncoderText(dim=8, hash_buckets=1000, max_ngrams=4)
    model = SiameseText(encoder)
    model.compile(keras.optimizers.Adagrad(0.1))
    # Two queries of a group share each picture, and no query shares pictures with all of its group.
    pairs = [(a, b) for start in (0, 4) for a in range(start, start + 4) for b in range(start, a)]
    picture, query = np.repeat(np.arange(len(pairs)), 2), np.array(pairs).ravel()
    ngrams = encoder.ngram_ids(tf.constant(animals + cars))
    batches = association_batches(picture, query, ngrams, batch_size=8, steps=20)
    losses = model.fit(batches, epochs=5, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    cosines = encoder(tf.constant(animals)).numpy() @ encoder(tf.constant(animals + cars)).numpy().T
    assert cosines[:, :4].min() > cosines[:, 4:].max() + 0.2


def test_config_round_trip():
    model = SiameseText(DualEncoderText(dim=4, hash_buckets=9, max_ngrams=3), scale=7.0, name="text")
    copy = SiameseText.from_config(model.get_config())
    assert (copy.scale, copy.name) == (7.0, "text")
    assert copy.text_encoder.get_config() == model.text_encoder.get_config()
    assert len(copy.trainable_variables) == 2


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan")])
def test_scale_must_be_positive(scale):
    with pytest.raises(ValueError, match="scale must be above 0, got"):
        SiameseText(DualEncoderText(dim=4), scale=scale)
