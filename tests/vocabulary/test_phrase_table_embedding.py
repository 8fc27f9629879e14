"""Embedding the texts of a table on disk resumes after an interruption."""

import os

import numpy as np
import pytest

from ctxvision import PhraseTable
from tests.vocabulary.small_table import PHRASES, contents, names


class Encoder:
    """Embeds each phrase as [length, 1]; raises at call number `stop`."""

    def __init__(self, stop=None, factor=1.0, dim=2):
        self.stop, self.factor, self.dim, self.seen = stop, factor, dim, []

    def __call__(self, phrases):
        if self.stop is not None and len(self.seen) == self.stop:
            raise KeyboardInterrupt
        self.seen.append(list(phrases))
        return [[self.factor * len(phrase), *[1.0] * (self.dim - 1)] for phrase in phrases]


def broken_off(folder, stop):
    with pytest.raises(KeyboardInterrupt):
        PhraseTable.load(folder).embed_texts(Encoder(stop), batch_size=1)
    assert PhraseTable.load(folder).text_embeddings.tolist() == np.eye(4).tolist()


def test_embedding_resumes_after_the_written_batches(folder):
    broken_off(folder, stop=3)
    table, encoder = PhraseTable.load(folder), Encoder()
    table.embed_texts(encoder, batch_size=1)
    assert encoder.seen == [["red car"], ["caf\u00e9"]]
    assert table.text_embeddings.tolist() == [[7, 1], [5, 1], [1, 1], [4, 1]]
    assert contents(PhraseTable.load(folder)) == contents(table)
    assert names(folder) == [".lock", "generation-2", "table.json"]


@pytest.mark.parametrize("extra", [1, 7])
def test_a_partly_written_row_is_written_again(folder, extra):
    broken_off(folder, stop=3)
    with open(folder / "unfinished-1.npy", "ab") as file:
        file.write(b"x" * extra)
    table = PhraseTable.load(folder)
    table.embed_texts(Encoder(), batch_size=2)
    assert table.text_embeddings.tolist() == [[7, 1], [5, 1], [1, 1], [4, 1]]


@pytest.mark.parametrize("encoder", [Encoder(factor=2.0), Encoder(dim=3)])
def test_another_encoder_starts_over(folder, encoder):
    broken_off(folder, stop=3)
    table = PhraseTable.load(folder)
    table.embed_texts(encoder, batch_size=2)
    assert encoder.seen == [["red car", "Größe"], ["猫", "caf\u00e9"]]
    assert table.text_embeddings.tolist() == encoder([*table.phrases])


@pytest.mark.parametrize("size", [0, 5, 130])
def test_a_damaged_beginning_starts_over(folder, size):
    broken_off(folder, stop=3)
    os.truncate(folder / "unfinished-1.npy", size)
    table = PhraseTable.load(folder)
    table.embed_texts(Encoder(), batch_size=1)
    assert table.text_embeddings.tolist() == [[7, 1], [5, 1], [1, 1], [4, 1]]


def test_another_generation_starts_over(folder):
    broken_off(folder, stop=3)
    table, encoder = PhraseTable.load(folder), Encoder()
    table.upsert(["neko"], [[1.0, 0.0]])
    assert names(folder) == [".lock", "generation-2", "table.json"]
    table.embed_texts(encoder, batch_size=1)
    assert len(encoder.seen) == len(PHRASES) + 1
    assert table.text_embeddings.tolist() == [[7, 1], [5, 1], [1, 1], [4, 1], [4, 1]]


def test_a_full_disk_leaves_no_half_file(folder):
    (folder / "unfinished-1.npy").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        PhraseTable.load(folder).embed_texts(Encoder(), batch_size=1)
    assert names(folder) == [".lock", "generation-1", "table.json"]


def test_an_encoder_that_fails_loses_nothing(folder):
    def encode(phrases):
        if phrases != ["red car"]:
            raise ConnectionError("no answer")
        return Encoder()(phrases)

    broken_off(folder, stop=3)
    with pytest.raises(ConnectionError):
        PhraseTable.load(folder).embed_texts(encode, batch_size=1)
    table, encoder = PhraseTable.load(folder), Encoder()
    table.embed_texts(encoder, batch_size=1)
    assert encoder.seen == [["red car"], ["caf\u00e9"]]
