"""Phrases of a vocabulary share strings, and are found by their ids."""

import numpy as np
import pytest
import tensorflow as tf

import ctxvision as cv
from ctxvision.layers.retrieval.vocabulary import Vocabulary


def named(first, last):
    """Makes phrases of all lengths from 1 to 1,000 bytes, in several scripts."""
    letters = "aéж猫🦊"
    texts = [f"{i} " + letters[i % 5] * (i * 37 % 240) for i in range(first, last)]
    return [text if i % 50 else "x" * (1000 - i) for i, text in enumerate(texts, first)]


def table_of(phrases):
    return cv.PhraseTable.from_arrays(phrases, np.random.default_rng(0).normal(size=[len(phrases), 4]))


def texts(vocabulary, ids):
    return [text.decode() for text in vocabulary.phrases_of(tf.constant(ids, tf.int32)).numpy().ravel()]


@pytest.mark.parametrize("number", [1, 63, 64, 65, 300])
def test_ids_find_their_phrases(number):
    phrases = named(0, number)
    vocabulary = Vocabulary(table_of(phrases), None, 1)
    assert texts(vocabulary, range(number)) == phrases
    assert texts(vocabulary, [[number - 1, -1], [-1, 0]]) == [phrases[-1], "", "", phrases[0]]


@pytest.mark.parametrize("longest", ["y" * 1000, "猫" * 333])
def test_strings_of_the_longest_phrases(longest):
    phrases = [longest[:-3] + f"{i:03}" for i in range(130)]
    assert texts(Vocabulary(table_of(phrases), None, 1), range(130)) == phrases


@pytest.mark.parametrize("before", [1, 60, 64, 100])
def test_later_rows_join_the_strings(before):
    table = table_of(named(0, before))
    vocabulary = Vocabulary(table, None, 1)
    find = tf.function(vocabulary.phrases_of, input_signature=[tf.TensorSpec([None], tf.int32)])
    assert find(tf.range(before)).shape == [before]
    later = named(before, before + 70)
    vocabulary.take_in(table, table.upsert(later, np.ones([70, 4])))
    found = [text.decode() for text in find(tf.range(before + 70)).numpy()]
    assert found == named(0, before + 70)


def test_more_rows_than_room():
    table = table_of(named(0, 10))
    vocabulary = Vocabulary(table, None, 1)
    with pytest.raises(ValueError, match="at most 2058 rows.*call index"):
        vocabulary.take_in(table, table.upsert([f"new {i}" for i in range(3000)], np.ones([3000, 4])))
