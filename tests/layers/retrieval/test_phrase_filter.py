"""Rows that a filter admits, derived by hand."""

import numpy as np
import pytest
import tensorflow as tf

from ctxvision import PhraseTable
from ctxvision.layers.retrieval.phrase_filter import MOST_FLAGS, PhraseFilter, attributes_of, flag_bits
from ctxvision.layers.retrieval.vocabulary import PINNED, Vocabulary, retrievable_ids

# id: language, adult, brand
#  0: en          1: de, adult   2: en, brand   3: fr, adult, brand   4: de
FLAGS = {"adult": np.array([0, 1, 0, 1, 0], bool), "brand": np.array([0, 0, 1, 1, 0], bool)}
TABLE = PhraseTable.from_arrays(
    list("abcde"), np.eye(5), counts=[1, 2, 0, 4, 5], languages=["en", "de", "en", "fr", "de"], flags=FLAGS
)

RULES = ("allow_languages", "deny_languages", "allow_flags", "deny_flags", "deny_ids")


@pytest.fixture(scope="module")
def vocabulary():
    return Vocabulary(TABLE, None, 1)


def admitted(vocabulary, ids=range(5), **rules):
    where = vocabulary.filter(**{name: rules.get(name) for name in RULES})
    return [i for i, yes in zip(ids, vocabulary.admits(where)(tf.constant(list(ids))).numpy()) if yes]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"allow_languages": ["de"]}, [1, 4]),
        ({"allow_languages": ["de", "fr", "de"]}, [1, 3, 4]),
        ({"allow_languages": []}, [0, 1, 2, 3, 4]),
        ({"allow_languages": ["xx"]}, []),
        ({"deny_languages": ["de"]}, [0, 2, 3]),
        ({"deny_languages": ["xx"]}, [0, 1, 2, 3, 4]),
        ({"deny_languages": []}, [0, 1, 2, 3, 4]),
        ({"allow_languages": ["de", "en"], "deny_languages": ["de"]}, [0, 2]),
        ({"allow_flags": ["adult"]}, [1, 3]),
        ({"allow_flags": ["brand", "adult", "adult"]}, [3]),
        ({"deny_flags": ["adult"]}, [0, 2, 4]),
        ({"deny_flags": ["adult", "brand"]}, [0, 4]),
        ({"allow_flags": ["adult"], "deny_flags": ["adult"]}, []),
        ({"allow_flags": ["brand"], "deny_flags": ["adult"], "allow_languages": ["en"]}, [2]),
        ({"deny_ids": [3, 0, 3]}, [1, 2, 4]),
        ({"deny_ids": [4]}, [0, 1, 2, 3]),
        ({"deny_ids": [-1, 2**31 - 1, -(2**31)]}, [0, 1, 2, 3, 4]),
        ({"deny_ids": np.array([1], np.int64), "deny_languages": ["en"]}, [3, 4]),
    ],
)
def test_rules(vocabulary, rules, expected):
    assert admitted(vocabulary, **rules) == expected
    tensors = {
        name: tf.constant(value, tf.int32 if name == "deny_ids" else tf.string)
        for name, value in rules.items()
    }
    assert admitted(vocabulary, **tensors) == expected
    in_graph = tf.function(lambda given: vocabulary.filter(**{name: given.get(name) for name in RULES}))(
        tensors
    )
    assert vocabulary.admits(in_graph)(tf.range(5)).numpy().nonzero()[0].tolist() == expected


def test_absent_id_is_never_admitted(vocabulary):
    assert admitted(vocabulary, ids=[-1, 2, -1]) == [2]


def test_ids_of_any_shape(vocabulary):
    where = vocabulary.filter(None, ["de"], None, None, [3])
    for shape in ([2, 3], [6, 1, 1], [0, 3]):
        ids = tf.constant([0, 1, 2, 3, 4, -1][: int(np.prod(shape))], tf.int32, shape)
        found = vocabulary.admits(where)(ids)
        assert found.shape == shape
        assert (
            found.numpy().ravel().tolist() == [True, False, True, False, False, False][: int(np.prod(shape))]
        )


def test_attributes_with_the_highest_numbers():
    # The last language number fits in 16 bits, and the 15th flag is bit 30, below the sign bit.
    names = [f"flag{i}" for i in range(MOST_FLAGS)]
    flags = {name: np.array([name == "flag0", name == "flag14", True]) for name in names}
    attributes = attributes_of(np.array([1, 32767, 32767], np.int16), flags, names)
    assert attributes.dtype == np.int32
    assert attributes.tolist() == [1 | 1 << 16, 32767 | 1 << 30, 32767 | (2**15 - 1) << 16]
    languages = tf.constant(np.arange(32768) == 32767)
    last = PhraseFilter(
        languages, flag_bits(["flag14"], names), flag_bits([], names), tf.constant([], tf.int32)
    )
    assert last.admits(tf.range(3), tf.constant(attributes)).numpy().tolist() == [False, True, True]
    no_first = last._replace(denied=flag_bits(["flag0"], names))
    assert no_first.admits(tf.range(3), tf.constant(attributes)).numpy().tolist() == [False, True, False]


def test_flag_bits():
    names = ("a", "b", "c")
    assert flag_bits(["c", "a", "c"], names).numpy() == 0b101
    assert flag_bits(tf.constant(["c", "a", "c"]), names).numpy() == 0b101
    assert flag_bits(tf.constant([], tf.string), ()).numpy() == 0


def test_unknown_flag():
    with pytest.raises(
        ValueError, match=r"flags must be columns of the table, \['a', 'b'\], got 'c': correct it"
    ):
        flag_bits(["a", "c"], ("a", "b"))
    in_graph = tf.function(lambda wanted: flag_bits(wanted, ("a", "b")))
    for call in (in_graph, lambda wanted: flag_bits(wanted, ("a", "b"))):
        with pytest.raises(tf.errors.InvalidArgumentError, match="flags must be columns of the table"):
            call(tf.constant(["a", "c"]))


def test_too_many_flags():
    flags = {f"flag{i}": [True] for i in range(16)}
    with pytest.raises(ValueError, match="flags must be at most 15 columns, got 16"):
        Vocabulary(PhraseTable.from_arrays(["a"], [[1.0]], flags=flags), None, 1)


@pytest.mark.parametrize(
    ("languages", "min_count", "expected"),
    [(None, 0, [0, 1, 2, 4]), (None, 1, [0, 1, 4]), (["de", "fr"], 1, [1, 4]), (["xx"], 0, []), ([], 0, [])],
)
def test_rows_that_may_be_found(languages, min_count, expected):
    table = PhraseTable.from_arrays(
        list("abcde"), np.eye(5), counts=[1, 2, 0, 4, 5], languages=["en", "de", "en", "fr", "de"]
    )
    table.remove(["d"])
    ids = retrievable_ids(table, languages, min_count)
    assert ids.dtype == np.int32 and ids.tolist() == expected
    some = retrievable_ids(table, languages, min_count, np.array([1, 3, 4], np.int32))
    assert some.tolist() == [i for i in (1, 4) if i in expected]


def test_pinned_rows_need_no_pictures():
    table = PhraseTable.from_arrays(
        list("abc"),
        np.eye(3),
        counts=[0, 0, 9],
        languages=["en", "en", "de"],
        flags={PINNED: [True, False, False]},
    )
    assert retrievable_ids(table, None, 5).tolist() == [0, 2]
    assert retrievable_ids(table, ["de"], 5).tolist() == [2]
    table.remove(["a"])
    assert retrievable_ids(table, None, 5).tolist() == [2]
