"""The third column of a list of phrases holds counts, which go into the phrase table."""

from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest

import ctxvision as cv
from ctxvision.context.text_tower import ListedPhrase, fit_projection, phrases_of
from ctxvision.context.two_towers import _write_table

VECTORS = {"red car": [1.0, 0.0], "mar azul": [0.0, 1.0], "dog": [0.6, 0.8], "cat": [0.8, 0.6]}
LIST = "red car\ten\t12\n\nmar azul \t es\ndog\ncat\t\t 9223372036854775807\r\n"


def write(path, content):
    path.write_bytes(content.encode("utf-8"))
    return path


def test_language_and_count_may_be_left_out(tmp_path):
    assert list(phrases_of(write(tmp_path / "list", LIST))) == [
        ListedPhrase("red car", "en", 12),
        ListedPhrase("mar azul", "es", 1),
        ListedPhrase("dog", "en", 1),
        ListedPhrase("cat", "en", 9223372036854775807),
    ]


@pytest.mark.parametrize("count", ["0", "-1", "1.5", "many", "²", "1\t2", "9223372036854775808", "9" * 5000])
def test_a_bad_count(tmp_path, count):
    phrases = phrases_of(write(tmp_path / "list", f"dog\n\ncat\ten\t{count}\n"))
    assert next(phrases).phrase == "dog"
    with pytest.raises(
        cv.InputError, match="count of a phrase must be a whole number from 1 .* in line 3 of"
    ):
        next(phrases)


def test_counts_are_written_to_the_table(tmp_path):
    @contextmanager
    def finishing(name):
        yield tmp_path / name

    def tower(texts):
        return np.array([VECTORS[text] for text in texts], np.float32)

    projection = fit_projection(tower([*VECTORS]), 2)
    context = SimpleNamespace(stages=SimpleNamespace(finishing=finishing))
    _write_table(context, write(tmp_path / "list", LIST), tower, projection, projection)
    table = cv.PhraseTable.load(tmp_path / "table")
    assert list(table.phrases) == ["red car", "mar azul", "dog", "cat"]
    np.testing.assert_array_equal(table.counts, [12, 1, 1, 9223372036854775807])
    assert list(table.languages) == ["en", "es", "en", "en"]
    np.testing.assert_allclose(table.text_embeddings, projection(tower(table.phrases)), atol=1e-6)
