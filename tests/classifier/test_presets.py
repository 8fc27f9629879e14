"""The presets, and the method's own sizes on tiny pictures."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import ctxvision as cv
from ctxvision.classifier.towers import new_visual_encoder
from ctxvision.context.towers import new_phrase_generator


def test_presets_and_overrides(tmp_path):
    assert cv.Config.preset("small") == cv.Config()
    demo = cv.Config.preset("demo", seed=4)
    assert (demo.seed, demo.image_size, demo.context.phrase_steps) == (4, 40, 4000)
    (tmp_path / "settings.json").write_text('{"image_size": 128}')
    paper = cv.Config.from_file(tmp_path / "settings.json", "paper", label_column="kind")
    assert (paper.image_size, paper.label_column, paper.context.phrase_backbone) == (128, "kind", "resnet101")
    assert cv.Config.from_dict(paper.to_dict()) == paper
    with pytest.raises(
        cv.InputError, match="preset must be one of small, demo, transfer, paper, got 'large'"
    ):
        cv.Config.preset("large")


def count(weights):
    return sum(int(np.prod(weight.shape)) for weight in weights)


@pytest.mark.slow
def test_the_papers_sizes_learn_a_step_and_predict():
    config = cv.Config.preset("paper", image_size=75)  # the smallest input of Inception v3
    generator, encoder = new_phrase_generator(config.context), new_visual_encoder(config)
    # The convolutions, their batch normalisations with 4 numbers per channel, and the layers on top of 2048 features.
    assert count(generator.tower.weights) == 42_658_176
    assert count(encoder.tower.weights) == 21_802_784
    assert count(generator.weights) == 42_658_176 + 2048 * 64 + 2 * 64
    assert count(encoder.weights) == 21_802_784 + 2048 * 1024 + 1024

    phrases = ["red car", "blue car", "old tree", "tall tower"]
    model = cv.QueryClassifier(generator, len(phrases), config.context.phrase_scale, num_sampled=2)
    # Runs eagerly, since tracing so many layers would take most of a minute; smaller towers cover tracing.
    model.compile(keras.optimizers.AdamW(config.learning_rate), run_eagerly=True)
    pixels = tf.random.stateless_uniform([2, 75, 75, 3], [0, 1], 0, 255)
    queries = tf.constant([[0, 1], [2, -1]])
    rows, first = model.class_table.table.numpy(), generator.tower.trainable_weights[0].numpy()
    loss = model.train_on_batch(pixels, queries)
    # Cosines of Eq. 1 differ by at most 1, so the loss of scale 1 is near the loss of guessing.
    assert 0 < loss < 4
    assert (model.class_table.table.numpy() != rows).any(axis=1)[:3].all()
    assert (generator.tower.trainable_weights[0].numpy() != first).any()

    table = cv.PhraseTable.from_arrays(phrases, generator(tf.random.uniform([4, 75, 75, 3], 0, 255)))
    text = cv.DualEncoderText(config.context.text_dim, hash_buckets=64, name="dual_encoder_text")
    embeddings = cv.PhraseEmbeddings(encoder=text, name="phrase_embeddings", trainable=False)
    embeddings.assign(text.ngrams(phrases))
    classifier = cv.ContextClassifier(
        generator,
        cv.PrototypeRetrieval(config.context_phrases, name="prototype_retrieval").index(table),
        embeddings,
        encoder,
        cv.ContextFusion(5, name="context_fusion"),
        list("abcde"),
        cv.ContextPooling("uniform", name="context_pooling"),
    )
    answer = classifier(pixels)
    assert answer["probabilities"].shape == (2, 5) and answer["phrases"].shape == (2, 3)
    np.testing.assert_allclose(tf.reduce_sum(answer["probabilities"], axis=1), 1.0, atol=1e-5)
    assert encoder(pixels).shape == (2, 1024) and generator(pixels).shape == (2, 64)
    assert text(tf.constant([phrases])).shape == (1, 4, 200)
