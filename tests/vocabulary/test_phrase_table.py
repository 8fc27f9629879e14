import numpy as np
import pytest

from ctxvision import InputError, PhraseTable
from ctxvision.vocabulary import Ngrams
from tests.vocabulary.small_table import COUNTS, LANGUAGES, UNIT


def test_rows_are_normalised_and_kept_in_order(table):
    assert list(table.phrases) == ["red car", "Größe", "猫", "caf\u00e9"]
    np.testing.assert_allclose(table.prototypes, UNIT, rtol=1e-6)
    assert table.prototypes.dtype == np.float32 and table.counts.dtype == np.int64
    assert table.counts.tolist() == COUNTS and list(table.languages) == LANGUAGES
    assert len(table) == 4
    rows = list(table)
    assert [(row.phrase, row.count, row.language) for row in rows][1] == ("Größe", 0, "de")
    np.testing.assert_array_equal(rows[1].prototype, [0, -1])


def test_defaults():
    table = PhraseTable.from_arrays(["a", "b"], np.eye(2))
    assert table.counts.tolist() == [1, 1] and list(table.languages) == ["en", "en"]
    assert table.text_embeddings is None and table.flags == {} and table.directory is None
    assert table.live.tolist() == [True, True]


def test_half_precision():
    table = PhraseTable.from_arrays(["a", "b"], [[3.0, 4.0], [1e-30, 0.0]], dtype="float16")
    np.testing.assert_array_equal(table.prototypes, np.array([[0.6, 0.8], [1, 0]], np.float16), strict=True)
    table.upsert(["a", "c"], [[4.0, 3.0], [0.0, -9.0]])
    np.testing.assert_array_equal(
        table.prototypes, np.array([[0.8, 0.6], [1, 0], [0, -1]], np.float16), strict=True
    )


def test_languages_are_stored_as_numbers_and_codes(table):
    assert table.language_codes == LANGUAGES and table.language_ids.tolist() == [0, 1, 2, 3]
    assert table.language_ids.dtype == np.int16


def test_columns_are_copies():
    flag = np.array([True, False])
    table = PhraseTable.from_arrays(["a", "b"], np.eye(2), flags={"odd": flag})
    flag[:] = False
    assert table.flags["odd"].tolist() == [True, False]


def test_ids_find_either_unicode_form(either):
    ids = either.ids(["猫", "dog", "caf\u00e9", "cafe\u0301", "red car", "red", ""])
    assert ids.tolist() == [2, -1, 3, 3, 0, -1, -1] and ids.dtype == np.int32
    assert either.ids([]).tolist() == []
    assert either.ids(np.array(["猫"])).tolist() == [2]


@pytest.mark.parametrize("phrases", ["猫", [b"x"], ["\ud800"]])
def test_ids_of_values_that_are_not_text(table, phrases):
    with pytest.raises(InputError, match="phrases must be (a sequence of str|valid Unicode), got"):
        table.ids(phrases)


def test_phrases_with_equal_hashes_are_distinguished(monkeypatch):
    for module in ("_checks", "phrase_table"):
        monkeypatch.setattr(
            f"ctxvision.vocabulary.{module}.phrase_hashes", lambda e: np.full(len(e), 7, np.uint64)
        )
    table = PhraseTable.from_arrays(["a", "b", "cc"], np.eye(3))
    assert table.ids(["cc", "b", "a", "d", "dd"]).tolist() == [2, 1, 0, -1, -1]
    assert table.upsert(["d", "b"], np.eye(2, 3)).tolist() == [3, 1]
    assert table.ids(["d", "cc", "b", "a"]).tolist() == [3, 2, 1, 0]
    with pytest.raises(InputError, match="got 'b' twice"):
        PhraseTable.from_arrays(["a", "b", "c", "b"], np.ones([4, 1]))


def test_take_keeps_the_requested_order(either):
    either.remove(["猫"])
    taken = either.take([2, 0, -1])
    assert list(taken.phrases) == ["猫", "red car", "caf\u00e9"] and taken.counts.tolist() == [7, 5, 1]
    assert taken.languages.tolist() == ["ja", "en", "fr"] and taken.live.tolist() == [False, True, True]
    assert taken.flags["adult"].tolist() == [False, False, True] and taken.directory is None
    np.testing.assert_array_equal(taken.text_embeddings, np.eye(4)[[2, 0, 3]])
    assert taken.ids(["red car", "猫", "Größe"]).tolist() == [1, -1, -1]
    with pytest.raises(InputError, match="rows must not be empty, got none"):
        either.take(np.array([], int))
    with pytest.raises(InputError, match="got 'red car' twice"):
        either.take([0, 0])


def test_iteration_skips_removed_rows(either):
    either.remove(["Größe", "red car"])
    assert [row.phrase for row in either] == ["猫", "caf\u00e9"] and len(either) == 4


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"phrases": []}, "phrases must not be empty, got none"),
        ({"phrases": ["a", ""]}, "phrases must not hold an empty phrase, got one at row 1"),
        ({"phrases": ["caf\u00e9", "cafe\u0301"]}, "phrases must differ .*, got 'caf\u00e9' twice"),
        ({"phrases": ["a", b"b"]}, "phrases must be a sequence of str, got b'b': decode bytes as UTF-8"),
        ({"phrases": "ab"}, "phrases must be a sequence of str, got 'ab'"),
        ({"prototypes": [[1.0, 0.0]]}, r"prototypes must have shape \[2, D\], .* got \[1, 2\]"),
        ({"prototypes": [1.0, 0.0]}, r"prototypes must have shape \[2, D\], .* got \[2\]"),
        ({"prototypes": [[1.0, 0.0], [0.0, 0.0]]}, "prototypes must be finite and not zero, got .* for 'b'"),
        (
            {"prototypes": [[np.nan, 0.0], [0.0, 1.0]]},
            "prototypes must be finite and not zero, got .* for 'a'",
        ),
        (
            {"phrases": ["a", "x" * 10_000]},
            r"at most 1,000 UTF-8 bytes, got 10,000 for 'xxx.*\.\.\.': leave it out",
        ),
        ({"phrases": ["a", "é" * 501]}, r"at most 1,000 UTF-8 bytes, got 1,002 for 'ééé.*"),
        ({"phrases": ["a", "\ud800"]}, "phrases must be valid Unicode, got"),
        ({"dtype": "float64"}, "dtype must be 'float32' or 'float16', got 'float64'"),
        ({"counts": [1]}, r"counts must have shape \[2\], one value for each phrase, got \[1\]"),
        ({"counts": [1, -4]}, "counts must be integers of 0 or more, got -4 for 'b'"),
        ({"counts": [1.5, 2]}, "counts must be integers of 0 or more, got 1.5 for 'a'"),
        ({"languages": ["en"]}, r"languages must have shape \[2\], one value for each phrase, got \[1\]"),
        ({"languages": ["en", None]}, r"languages must be a sequence of str, got \['en', None\]"),
        ({"languages": "en"}, "languages must be a sequence of str, got 'en'"),
        ({"text_embeddings": [[1.0]]}, r"text_embeddings must have shape \[2, T\], .* got \[1, 1\]"),
        ({"text_embeddings": [[1.0], [np.inf]]}, r"text_embeddings must be finite, got \[inf\] for 'b'"),
        ({"ngrams": Ngrams(np.ones([1, 3], int), 9)}, r"ids of ngrams must be integers of shape \[2, M\]"),
        ({"ngrams": Ngrams(np.ones([2, 3]), 9)}, r"ids of ngrams must be integers .* got float64 \[2, 3\]"),
        (
            {"ngrams": Ngrams(np.array([[1], [9]]), 8)},
            r"ids of ngrams must be from 0 to 8, got \[9\] for 'b'",
        ),
        ({"ngrams": Ngrams(np.array([[1], [-1]]), 8)}, r"ids of ngrams must be from 0 to 8, got \[-1\]"),
        ({"ngrams": Ngrams(np.ones([2, 3], int), 2**16)}, "hash_buckets .* from 1 to 65,535, got 65536"),
        (
            {"ngrams": Ngrams(np.ones([2, 3], int), 9), "text_embeddings": [[1.0], [2.0]]},
            "text_embeddings and ngrams must not both be given",
        ),
        ({"flags": {"a b": [True, True]}}, "flags must have names that are Python identifiers, got 'a b'"),
        ({"flags": {"odd": [True]}}, r"flags\['odd'\] must have shape \[2\], .* got \[1\]"),
        ({"flags": {"odd": [1, 0]}}, r"flags\['odd'\] must be bool, got int64"),
    ],
)
def test_bad_columns(change, match):
    columns = {"phrases": ["a", "b"], "prototypes": [[1.0, 0.0], [0.0, 1.0]], **change}
    with pytest.raises(InputError, match=match):
        PhraseTable.from_arrays(**columns)


def test_more_languages_than_int16_has_numbers():
    names = [str(i) for i in range(2**15)]
    with pytest.raises(InputError, match="languages must have at most 32,767 different codes, got 32,768"):
        PhraseTable.from_arrays(names, np.ones([2**15, 1]), languages=names)
