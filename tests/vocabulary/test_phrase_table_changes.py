import numpy as np
import pytest

from ctxvision import InputError, PhraseTable
from ctxvision.vocabulary import Ngrams
from tests.vocabulary.small_table import IDS, PHRASES, UNIT, contents, ngram_table


def test_upsert_replaces_in_place_and_appends(either):
    ids = either.upsert(
        ["new", "Größe"],
        [[0.0, 5.0], [2.0, 0.0]],
        [3, 9],
        ["en", "xx"],
        np.ones([2, 4]),
        {"adult": [True, False]},
    )
    assert ids.tolist() == [4, 1] and ids.dtype == np.int32
    assert list(either.phrases) == ["red car", "Größe", "猫", "caf\u00e9", "new"]
    np.testing.assert_allclose(either.prototypes, [[0.6, 0.8], [1, 0], [1, 0], [-1, 0], [0, 1]], rtol=1e-6)
    assert either.counts.tolist() == [5, 9, 7, 1, 3]
    assert either.languages.tolist() == ["en", "xx", "ja", "fr", "en"]
    assert either.flags["adult"].tolist() == [False, False, False, True, True]
    assert either.ids(["Größe", "new"]).tolist() == [1, 4]


def test_upsert_keeps_columns_that_are_not_given(either):
    either.upsert(["猫", "neko"], [[0.0, 1.0], [0.0, 1.0]], text_embeddings=np.ones([2, 4]))
    assert either.counts.tolist() == [5, 0, 7, 1, 1]
    assert either.languages.tolist() == ["en", "de", "ja", "fr", "en"]
    assert either.flags["adult"].tolist() == [False, True, False, True, False]


def test_text_embeddings_are_needed_for_new_phrases_alone(either):
    either.upsert(["猫"], [[0.0, 1.0]])
    assert either.text_embeddings.tolist() == np.eye(4).tolist()
    either.upsert(["neko", "猫"], [[0.0, 1.0], [1.0, 0.0]], text_embeddings=[[5, 6, 7, 8], [9, 9, 9, 9]])
    expected = [[1, 0, 0, 0], [0, 1, 0, 0], [9, 9, 9, 9], [0, 0, 0, 1], [5, 6, 7, 8]]
    assert either.text_embeddings.tolist() == expected
    with pytest.raises(
        InputError, match="text_embeddings must be given for new phrases .*, got none for 'mao'"
    ):
        either.upsert(["猫", "mao"], [[0.0, 1.0], [0.0, 1.0]])
    assert either.text_embeddings.tolist() == expected


@pytest.mark.parametrize("on_disk", [False, True])
def test_ngrams_come_with_phrases(on_disk, tmp_path):
    table = ngram_table()
    if on_disk:
        table.save(tmp_path)
        table = PhraseTable.load(tmp_path)
    assert table.text_embeddings is None and table.ngrams.ids.dtype == np.uint16
    table.upsert(["猫"], [[0.0, 1.0]])
    assert table.ngrams.ids.tolist() == IDS
    table.upsert(["neko", "猫"], [[0.0, 1.0], [1.0, 0.0]], ngrams=Ngrams(np.array([[4, 5, 0], [6, 0, 0]]), 7))
    assert table.ngrams.ids.tolist() == [*IDS[:2], [6, 0, 0], IDS[3], [4, 5, 0]]
    other = PhraseTable.from_arrays(
        ["red car", "dog"], np.ones([2, 2]), ngrams=Ngrams(np.array([[2, 2, 2], [1, 1, 1]]), 7)
    )
    table.merge(other)
    table.remove(["Größe"])
    table.shrink()
    assert list(table.phrases) == ["red car", "猫", "caf\u00e9", "neko", "dog"]
    expected = [IDS[0], [6, 0, 0], IDS[3], [4, 5, 0], [1, 1, 1]]
    assert table.ngrams.ids.tolist() == expected and table.ngrams.hash_buckets == 7
    assert table.take([3, 0]).ngrams.ids.tolist() == [expected[3], expected[0]]
    assert table.take([3, 0]).ngrams.hash_buckets == 7
    if on_disk:
        assert contents(PhraseTable.load(tmp_path)) == contents(table)


@pytest.mark.parametrize(
    ("columns", "match"),
    [
        ({}, "ngrams must be given for new phrases if the table has them, got none for 'x'"),
        ({"text_embeddings": [[1.0]]}, "text_embeddings must be left out if the table has none"),
        (
            {"ngrams": Ngrams(np.ones([1, 2], int), 7)},
            "ngrams must have 3 columns like those of the table, got 2",
        ),
        ({"ngrams": Ngrams(np.ones([1, 3], int), 8)}, "ngrams must have 7 hash buckets .* got 8"),
    ],
)
def test_ngrams_that_do_not_fit(columns, match):
    table = ngram_table()
    before = contents(table)
    with pytest.raises(InputError, match=match):
        table.upsert(["x"], [[1.0, 0.0]], **columns)
    assert contents(table) == before


def test_a_new_flag_is_false_elsewhere(either):
    either.upsert(["猫"], [[0.0, 1.0]], flags={"animal": [True]})
    assert either.flags["animal"].tolist() == [False, False, True, False]
    assert either.flags["adult"].tolist() == [False, True, False, True]


@pytest.mark.parametrize(
    ("columns", "match"),
    [
        ({"prototypes": [[1.0, 0.0, 0.0]]}, "prototypes must have 2 columns like those of the table, got 3"),
        ({"text_embeddings": [[1.0]]}, "text_embeddings must have 4 columns like those of the table, got 1"),
        ({"counts": [-1]}, "counts must be integers of 0 or more, got -1 for 'x'"),
        ({"phrases": []}, "phrases must not be empty"),
    ],
)
def test_bad_upsert_changes_nothing(either, columns, match):
    before = contents(either)
    with pytest.raises(InputError, match=match):
        either.upsert(**{"phrases": ["x"], "prototypes": [[1.0, 0.0]], **columns})
    assert contents(either) == before


def test_upsert_refuses_text_embeddings_if_the_table_has_none():
    table = PhraseTable.from_arrays(["a"], [[1.0]])
    with pytest.raises(
        InputError, match="text_embeddings must be left out if the table has none, got 1 rows"
    ):
        table.upsert(["b"], [[1.0]], text_embeddings=[[1.0]])


def test_a_removed_phrase_keeps_its_id(either):
    ids = either.remove(["Größe", "cafe\u0301"])
    assert ids.tolist() == [1, 3] and ids.dtype == np.int32
    assert either.live.tolist() == [True, False, True, False] and len(either) == 4
    assert either.ids(PHRASES).tolist() == [0, -1, 2, -1]
    vectors, text = [[1.0, 0.0], [0.0, 1.0]], np.ones([2, 4])
    assert either.upsert(["neu", "caf\u00e9"], vectors, text_embeddings=text).tolist() == [4, 3]
    assert either.live.tolist() == [True, False, True, True, True]
    # A restored phrase has the values of a new one.
    assert either.counts.tolist() == [5, 0, 7, 1, 1] and either.languages[3] == "en"
    assert either.flags["adult"].tolist() == [False, True, False, False, False]
    np.testing.assert_array_equal(either.prototypes[3], [0, 1])


def test_a_restored_phrase_keeps_its_text_embedding(either):
    either.remove(["猫"])
    either.upsert(["猫"], [[0.0, 1.0]])
    assert either.text_embeddings.tolist() == np.eye(4).tolist()


def test_remove_refuses_unknown_phrases_and_the_last_one(either):
    either.remove(["Größe"])
    before = contents(either)
    for phrase in ("dog", "Größe"):
        with pytest.raises(InputError, match=f"phrases to remove must be in the table, got '{phrase}'"):
            either.remove(["猫", phrase])
    with pytest.raises(InputError, match="phrases to remove must leave at least one in the table"):
        either.remove(["red car", "猫", "caf\u00e9", "cafe\u0301"])
    assert either.remove([]).tolist() == []
    assert contents(either) == before


@pytest.fixture
def other():
    return PhraseTable.from_arrays(
        ["gone", "neko", "猫", "Größe", "red car"],
        [[1.0, 1.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0], [-3.0, -4.0]],
        [1, 2, 21, 0, 5],
        ["en", "xx", "en", "en", "en"],
        np.full([5, 4], 8.0),
        {"new": [True, True, True, False, False]},
    )


def test_merge(either, other):
    other.remove(["gone"])
    assert either.merge(other).tolist() == [4, 2, 1, 0]
    assert list(either.phrases) == ["red car", "Größe", "猫", "caf\u00e9", "neko"]
    # red car and Größe cancel out; 猫 is [7, 21] of length 7 sqrt(10).
    expected = [[0.6, 0.8], [0, -1], [10**-0.5, 3 * 10**-0.5], [-1, 0], [0, 1]]
    np.testing.assert_allclose(either.prototypes, expected, rtol=1e-6)
    assert either.counts.tolist() == [10, 0, 28, 1, 2]
    assert either.languages.tolist() == ["en", "de", "ja", "fr", "xx"]
    assert either.flags["adult"].tolist() == [False, True, False, True, False]
    assert either.flags["new"].tolist() == [False, False, True, False, True]
    np.testing.assert_array_equal(either.text_embeddings, [*np.eye(4), [8, 8, 8, 8]])
    assert either.live.all()


def test_merge_weighs_phrases_without_pictures_equally():
    table = PhraseTable.from_arrays(["a"], [[1.0, 0.0]], [0])
    table.merge(PhraseTable.from_arrays(["a"], [[0.0, 1.0]], [0]))
    np.testing.assert_allclose(table.prototypes, [[0.5**0.5, 0.5**0.5]], rtol=1e-6)
    assert table.counts.tolist() == [0]


def test_merge_restores_removed_phrases_with_the_others_values(either, other):
    either.remove(["猫"])
    either.merge(other)
    np.testing.assert_array_equal(either.prototypes[2], [0, 1])
    assert either.counts[2] == 21 and either.languages[2] == "en" and either.live[2]
    assert either.text_embeddings[2].tolist() == [8, 8, 8, 8]


def test_merge_needs_text_embeddings_for_new_phrases_alone(either):
    either.merge(PhraseTable.from_arrays(["猫"], [[0.0, 1.0]]))
    assert either.text_embeddings.tolist() == np.eye(4).tolist()
    with pytest.raises(
        InputError, match="text_embeddings must be given for new phrases .*, got none for 'neko'"
    ):
        either.merge(PhraseTable.from_arrays(["neko"], [[0.0, 1.0]]))


def test_merge_of_other_widths_changes_nothing(either):
    before = contents(either)
    with pytest.raises(InputError, match="prototypes must have 2 columns like those of the table, got 1"):
        either.merge(PhraseTable.from_arrays(["猫"], [[1.0]]))
    with pytest.raises(
        InputError, match="text_embeddings must have 4 columns like those of the table, got 1"
    ):
        either.merge(PhraseTable.from_arrays(["猫"], [[1.0, 0.0]], text_embeddings=[[1.0]]))
    assert contents(either) == before


def test_merge_with_itself_doubles_the_counts(either):
    assert either.merge(either).tolist() == [0, 1, 2, 3]
    assert either.counts.tolist() == [10, 0, 14, 2]
    np.testing.assert_allclose(either.prototypes, UNIT, rtol=1e-6)


def test_shrink_renumbers(either):
    either.remove(["猫"])
    either.shrink(min_count=1)
    assert list(either.phrases) == ["red car", "caf\u00e9"] and either.live.tolist() == [True, True]
    np.testing.assert_allclose(either.prototypes, [[0.6, 0.8], [-1, 0]], rtol=1e-6)
    assert either.counts.tolist() == [5, 1] and either.languages.tolist() == ["en", "fr"]
    assert either.flags["adult"].tolist() == [False, True]
    assert either.text_embeddings.tolist() == [[1, 0, 0, 0], [0, 0, 0, 1]]
    assert either.ids(PHRASES).tolist() == [0, -1, -1, 1]
    assert either.upsert(["猫"], [[1.0, 0.0]], text_embeddings=np.ones([1, 4])).tolist() == [2]
    with pytest.raises(
        InputError, match="min_count must leave at least one phrase, got 6, above the highest count 5"
    ):
        either.shrink(min_count=6)


def test_changes_of_columns_in_several_blocks(monkeypatch, tmp_path):
    """Rows come in another order than the table's, and phrases cross the borders of blocks."""
    monkeypatch.setattr("ctxvision.vocabulary._columns.BLOCK_BYTES", 20)
    phrases = [f"{'phrase' * (i % 3)} {i}" for i in range(20)]
    PhraseTable.from_arrays(phrases, np.ones([20, 1]), np.arange(20)).save(tmp_path / "table")
    table = PhraseTable.load(tmp_path / "table")
    changed = [phrases[17], "new", phrases[3], "newer", phrases[11]]
    assert table.upsert(changed, -np.ones([5, 1]), [170, 200, 30, 210, 110]).tolist() == [17, 20, 3, 21, 11]
    counts = [*range(3), 30, *range(4, 11), 110, *range(12, 17), 170, 18, 19, 200, 210]
    assert table.counts.tolist() == counts
    assert np.flatnonzero(table.prototypes[:, 0] < 0).tolist() == [3, 11, 17, 20, 21]
    table.remove([phrases[18], phrases[12]])
    table.shrink(5)
    left = [i for i in range(22) if counts[i] >= 5 and i not in (12, 18)]
    assert list(table.phrases) == [[*phrases, "new", "newer"][i] for i in left]
    assert table.counts.tolist() == [counts[i] for i in left]
    assert table.ids([*table.phrases, *phrases[:3]]).tolist() == [*range(len(left)), -1, -1, -1]


def test_removed_phrases_of_the_other_are_not_merged():
    table = PhraseTable.from_arrays(["cat", "dog"], np.eye(2), counts=[3, 5])
    other = PhraseTable.from_arrays(["dog", "fox", "owl"], [[1.0, 0.0]] * 3, counts=[7, 7, 7])
    other.remove(["dog", "owl"])
    assert table.merge(other).tolist() == [2]
    assert table.phrases[2] == "fox" and table.counts.tolist() == [3, 5, 7]
    np.testing.assert_array_equal(table.prototypes[1], [0.0, 1.0])
