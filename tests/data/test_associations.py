from collections import Counter

import numpy as np
import pytest
import tensorflow as tf

from ctxvision.data.associations import association_batches, read_associations
from ctxvision.errors import InputError

NGRAMS = np.arange(14, dtype=np.int32).reshape(7, 2)
# Picture 5 has queries 0 and 1, picture 2 has 2, 3 and 4, picture 9 has only 5 (twice), picture 1 has only 6.
PICTURE = np.array([5, 2, 9, 2, 5, 9, 2, 1, 5])
QUERY = np.array([0, 2, 5, 3, 1, 5, 4, 6, 0])


def drawn(batches):
    return [(int(a), int(b)) for x in batches for a, b in zip(x["left_ids"], x["right_ids"], strict=True)]


def test_pairs_are_two_different_queries_of_one_picture():
    counts = Counter(drawn(association_batches(PICTURE, QUERY, NGRAMS, batch_size=64, steps=60)))
    two, three = [(0, 1), (1, 0)], [(a, b) for a in (2, 3, 4) for b in (2, 3, 4) if a != b]
    assert set(counts) == {*two, *three}
    # Each picture gives half of the 3,840 pairs (deviation 31), equally divided among its pairs (deviation at most 31).
    for pair in two:
        assert counts[pair] == pytest.approx(960, abs=130)
    for pair in three:
        assert counts[pair] == pytest.approx(320, abs=90)


def test_a_batch_holds_ids_and_their_ngrams():
    batches = association_batches(PICTURE, QUERY, NGRAMS, batch_size=16, steps=3)
    assert len(list(batches)) == 3
    for x in batches:
        assert x["left_ids"].dtype == x["left_ngrams"].dtype == tf.int32 and x["left_ids"].shape == (16,)
        np.testing.assert_array_equal(x["left_ngrams"], NGRAMS[x["left_ids"].numpy()])
        np.testing.assert_array_equal(x["right_ngrams"], NGRAMS[x["right_ids"].numpy()])


def test_the_seed_determines_the_pairs():
    def pairs(seed, steps=4):
        return drawn(association_batches(PICTURE, QUERY, NGRAMS, batch_size=8, steps=steps, seed=seed))

    assert pairs(1) == pairs(1) == pairs(1, steps=6)[:32]
    assert pairs([1, 2]) == pairs([1, 2])
    assert len({tuple(pairs(seed)) for seed in (1, 2, [1, 2], [2, 1])}) == 4
    assert pairs(1)[:8] != pairs(1)[8:16]


def test_the_order_of_the_log_does_not_matter():
    def pairs(order):
        return drawn(association_batches(PICTURE[order], QUERY[order], NGRAMS, batch_size=8, steps=4))

    assert pairs(np.arange(9)) == pairs(np.arange(9)[::-1])


@pytest.mark.parametrize(("picture", "query"), [([0, 1, 1], [0, 1, 1]), ([], [])])
def test_no_picture_with_two_queries(picture, query):
    with pytest.raises(InputError, match=r"one picture two different queries, got \d pictures and none"):
        association_batches(np.array(picture, int), np.array(query, int), NGRAMS, batch_size=2, steps=1)


def test_arrays_of_different_length():
    with pytest.raises(ValueError, match=r"two arrays of one length, got shapes \(2,\) and \(3,\)"):
        association_batches(np.zeros(2, int), np.zeros(3, int), NGRAMS, batch_size=2, steps=1)


@pytest.mark.parametrize("query", [7, -1])
def test_a_query_without_ngrams(query):
    with pytest.raises(ValueError, match=r"pair_query must lie in 0..6, the rows of ngram_ids, got"):
        association_batches(np.array([0, 0]), np.array([0, query]), NGRAMS, batch_size=2, steps=1)


KNOWN = {"red car": 0, "blue car": 1, "old tree": 2}


def test_pairs_are_read_from_a_file(tmp_path):
    file = tmp_path / "log.tsv"
    file.write_text("red car\tblue car\nold tree\tred car\t2.5\n\nunknown\tred car\nred car\tred car\n")
    pairs, weights = read_associations(file, KNOWN)
    assert pairs.tolist() == [[0, 1], [2, 0]] and weights.tolist() == [1.0, 2.5]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("red car\n", "must have two queries and an optional weight .*, got 'red car' in line 1"),
        ("red car\tblue car\tx\n", "an optional weight above 0 per line, .* in line 1"),
        ("red car\tblue car\t-1\n", "an optional weight above 0"),
        ("red car\tblue car\t1\t1\n", "an optional weight above 0"),
        ("", "must pair queries of the data, got 0 lines"),
        ("a\tb\n", "must pair queries of the data, got 1 lines .* and none with two known queries"),
    ],
)
def test_an_unusable_file(tmp_path, text, sentence):
    file = tmp_path / "log.tsv"
    file.write_text(text)
    with pytest.raises(InputError, match=sentence):
        read_associations(file, KNOWN)


def test_no_file(tmp_path):
    with pytest.raises(InputError, match="associations must be a text file, got"):
        read_associations(tmp_path / "none.tsv", KNOWN)


def test_pictures_are_drawn_by_their_weights():
    pictures, queries = np.repeat(np.arange(3), 2), np.arange(6)
    ngrams = np.ones((6, 1), np.int32)
    batches = association_batches(pictures, queries, ngrams, 1000, 4, 0, np.array([1.0, 0.0, 3.0]))
    drawn = np.concatenate([batch["left_ids"] for batch in batches]) // 2
    shares = np.bincount(drawn, minlength=3) / len(drawn)
    np.testing.assert_allclose(shares, [0.25, 0.0, 0.75], atol=0.03)
