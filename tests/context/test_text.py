"""The text encoder of a run after training and after loading."""

import numpy as np
import pytest
import tensorflow as tf

from ctxvision._files import read_json
from ctxvision.context.text import forget_untrained, hash_ngrams
from ctxvision.layers import DualEncoderText


def test_untrained_ngrams_are_zero():
    layer = DualEncoderText(dim=4, hash_buckets=20)
    before = layer.ngram_table.numpy()
    moved = before.copy()
    moved[[0, 3], 1] += 1
    layer.ngram_table.assign(moved)
    forget_untrained(layer, before)
    expected = np.zeros([21, 4])
    expected[[0, 3]] = moved[[0, 3]]
    np.testing.assert_array_equal(layer.ngram_table, expected)


def test_ngrams_are_those_of_a_trained_encoder(tiny_run):
    encoder, phrases = tiny_run.context.text_encoder, ["red square", "größe"]
    hashed = hash_ngrams(phrases)
    np.testing.assert_array_equal(hashed.ids, encoder.ngram_ids(tf.constant(phrases)))
    assert hashed.hash_buckets == encoder.hash_buckets and hashed.ids.shape == (2, 48)


def test_a_run_knows_its_trained_words_and_no_others(tiny_run):
    encoder = tiny_run.context.text_encoder
    assert (
        encoder.character_ngrams
        == read_json(tiny_run.context.directory / "text" / "encoder.json")["character_ngrams"]
    )
    known, unknown = encoder(tf.constant(["red square", "zzxqj"])).numpy()
    assert np.linalg.norm(known) == pytest.approx(1, abs=1e-5) and not unknown.any()
    table = tiny_run.context.phrase_table
    found = tiny_run.context.text_embeddings(table.ids(["red square"]))
    np.testing.assert_allclose(found, [known], atol=1e-6)
