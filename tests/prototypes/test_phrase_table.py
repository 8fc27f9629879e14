import json
import os
import subprocess
import sys

import numpy as np
import pytest

from ctxvision import InputError, PhraseTable

PHRASES = ["red car", "Größe", "猫", "cafe\u0301"]
PROTOTYPES = [[3.0, 4.0], [0.0, -2.0], [1.0, 0.0], [-1e-6, 0.0]]
UNIT = [[0.6, 0.8], [0, -1], [1, 0], [-1, 0]]
COUNTS = [5, 0, 7, 1]
LANGUAGES = ["en", "de", "ja", "fr"]


@pytest.fixture
def table():
    return PhraseTable.from_arrays(PHRASES, PROTOTYPES, COUNTS, LANGUAGES, np.eye(4))


def contents(table):
    return list(table.phrases), table.prototypes.tolist(), table.counts.tolist(), list(table.languages)


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
    assert table.text_embeddings is None


def test_ids_find_either_unicode_form(table):
    assert table.ids(["猫", "dog", "caf\u00e9", "cafe\u0301", "red car"]).tolist() == [2, -1, 3, 3, 0]
    assert table.ids([]).tolist() == []


def test_save_and_load(table, tmp_path):
    table.save(tmp_path / "a" / "table")
    loaded = PhraseTable.load(tmp_path / "a" / "table")
    assert contents(loaded) == contents(table)
    np.testing.assert_array_equal(loaded.text_embeddings, np.eye(4))
    assert isinstance(loaded.prototypes, np.memmap) and isinstance(loaded.text_embeddings, np.memmap)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["table"]
    assert not any(path.suffix == ".pkl" for path in (tmp_path / "a" / "table").iterdir())


def test_loaded_phrases_are_a_sequence(table, tmp_path):
    table.save(tmp_path / "table")
    phrases = PhraseTable.load(tmp_path / "table").phrases
    assert len(phrases) == 4
    assert phrases[0] == "red car" and phrases[-2] == "猫" and phrases[np.int64(1)] == "Größe"
    assert phrases[1:3] == ["Größe", "猫"] and phrases[::-2] == ["caf\u00e9", "Größe"]
    assert "猫" in phrases and "dog" not in phrases
    for row in (4, -5):
        with pytest.raises(IndexError):
            phrases[row]


def test_without_text_embeddings_none_are_loaded(tmp_path):
    PhraseTable.from_arrays(["a"], [[1.0]]).save(tmp_path / "table")
    assert PhraseTable.load(tmp_path / "table").text_embeddings is None


def test_with_text_embeddings_is_another_table(table):
    other = table.with_text_embeddings(np.ones([4, 3], np.float32))
    assert other.text_embeddings.shape == (4, 3) and table.text_embeddings.shape == (4, 4)
    assert contents(other) == contents(table)
    with pytest.raises(
        InputError, match="text_embeddings must have one row for each of the 4 phrases, got 3"
    ):
        table.with_text_embeddings(np.ones([3, 3]))


def test_take_keeps_the_order_asked_for(table):
    taken = table.take([2, 0])
    assert list(taken.phrases) == ["猫", "red car"] and taken.counts.tolist() == [7, 5]
    assert list(taken.languages) == ["ja", "en"]
    np.testing.assert_array_equal(taken.text_embeddings, np.eye(4)[[2, 0]])


def test_upsert_replaces_in_place_and_appends(table):
    assert table.ids(["new"]).tolist() == [-1]
    table.upsert(["new", "Größe"], [[0.0, 5.0], [2.0, 0.0]], [3, 9], ["en", "xx"])
    assert list(table.phrases) == ["red car", "Größe", "猫", "caf\u00e9", "new"]
    np.testing.assert_allclose(table.prototypes, [[0.6, 0.8], [1, 0], [1, 0], [-1, 0], [0, 1]], rtol=1e-6)
    assert table.counts.tolist() == [5, 9, 7, 1, 3]
    assert list(table.languages) == ["en", "xx", "ja", "fr", "en"]
    assert table.ids(["Größe", "new"]).tolist() == [1, 4]
    assert table.text_embeddings is None


def test_upsert_keeps_what_is_not_given(table):
    table.upsert(["猫", "neko"], [[0.0, 1.0], [0.0, 1.0]])
    assert table.counts.tolist() == [5, 0, 7, 1, 1]
    assert list(table.languages) == ["en", "de", "ja", "fr", "en"]


def test_upsert_of_another_width_changes_nothing(table):
    before = contents(table)
    with pytest.raises(InputError, match="prototypes must have 2 columns as the table has, got 3"):
        table.upsert(["x"], [[1.0, 0.0, 0.0]])
    assert contents(table) == before and table.text_embeddings is not None


def test_remove_moves_later_rows_up(table):
    assert table.ids(["猫"]).tolist() == [2]
    table.remove(["Größe"])
    assert list(table.phrases) == ["red car", "猫", "caf\u00e9"]
    assert table.counts.tolist() == [5, 7, 1] and list(table.languages) == ["en", "ja", "fr"]
    assert table.ids(["Größe", "猫"]).tolist() == [-1, 1]
    np.testing.assert_array_equal(table.text_embeddings, np.eye(4)[[0, 2, 3]])


def test_remove_refuses_unknown_phrases_and_the_last_one(table):
    before = contents(table)
    with pytest.raises(InputError, match="phrases to remove must be in the table, got 'dog'"):
        table.remove(["猫", "dog"])
    with pytest.raises(InputError, match="phrases to remove must leave at least one in the table"):
        table.remove(PHRASES)
    assert contents(table) == before


def test_loaded_table_is_copied_on_write(table, tmp_path):
    table.save(tmp_path / "table")
    loaded = PhraseTable.load(tmp_path / "table")
    loaded.upsert(["red car", "new"], [[1.0, 0.0], [0.0, 1.0]], [50, 60])
    loaded.remove(["Größe"])
    assert contents(PhraseTable.load(tmp_path / "table")) == contents(table)
    loaded.save(tmp_path / "table")
    again = PhraseTable.load(tmp_path / "table")
    assert contents(again) == contents(loaded)
    assert list(again.phrases) == ["red car", "猫", "caf\u00e9", "new"] and again.counts.tolist() == [
        50,
        7,
        1,
        60,
    ]


def test_interrupted_save_keeps_the_old_table(table, tmp_path, monkeypatch):
    table.save(tmp_path / "table")
    monkeypatch.setattr("ctxvision.prototypes.phrase_table.write_json", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        PhraseTable.from_arrays(["x"], [[1.0]]).save(tmp_path / "table")
    assert contents(PhraseTable.load(tmp_path / "table")) == contents(table)
    assert [path.name for path in tmp_path.iterdir()] == ["table"]


def test_save_never_replaces_what_is_no_table(table, tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("keep me")
    for place in (tmp_path / "letters", tmp_path / "letters" / "dear.txt"):
        with pytest.raises(InputError, match="directory must be new, empty or hold a phrase table, got"):
            table.save(place)
    assert (tmp_path / "letters" / "dear.txt").read_text() == "keep me"
    (tmp_path / "empty").mkdir()
    table.save(tmp_path / "empty")
    assert len(PhraseTable.load(tmp_path / "empty")) == 4


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
        ({"counts": [1]}, "counts must have one row for each of the 2 phrases, got 1"),
        ({"counts": [1, -4]}, "counts must be integers of 0 or more, got -4 for 'b'"),
        ({"counts": [1.5, 2]}, "counts must be integers of 0 or more, got 1.5 for 'a'"),
        ({"languages": ["en"]}, "languages must have one row for each of the 2 phrases, got 1"),
        ({"languages": ["en", None]}, r"languages must be str, got \['en', None\]"),
        ({"text_embeddings": [[1.0]]}, "text_embeddings must have one row for each of the 2 phrases, got 1"),
    ],
)
def test_bad_columns(change, match):
    columns = {"phrases": ["a", "b"], "prototypes": [[1.0, 0.0], [0.0, 1.0]], **change}
    with pytest.raises(InputError, match=match):
        PhraseTable.from_arrays(**columns)


def test_load_refuses_what_is_no_table(table, tmp_path):
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match="directory must hold a phrase table, got"):
            PhraseTable.load(place)
    table.save(tmp_path / "table")
    (tmp_path / "table" / "table.json").write_text('{"format_version": 99}')
    with pytest.raises(InputError, match="must have format version 1, got 99"):
        PhraseTable.load(tmp_path / "table")


def replace(**facts):
    def damage(folder):
        path = folder / "table.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **facts}))

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "table.json").write_text("{"),
        lambda folder: (folder / "table.json").write_text("[]"),
        lambda folder: (folder / "table.json").write_text('{"format_version": 1}'),
        replace(rows=3),
        replace(languages=["en"]),
        lambda folder: (folder / "prototypes.npy").unlink(),
        lambda folder: (folder / "text_embeddings.npy").unlink(),
        lambda folder: (folder / "counts.npy").write_bytes(b""),
        lambda folder: (folder / "counts.npy").write_bytes(b"no array at all"),
        lambda folder: os.truncate(folder / "prototypes.npy", 140),
        lambda folder: np.save(folder / "phrases.npy", np.zeros(5, np.uint8)),
        lambda folder: np.save(folder / "counts.npy", np.array([1, "a", None, 2], object), allow_pickle=True),
    ],
)
def test_damaged_table(table, tmp_path, damage):
    table.save(tmp_path / "table")
    damage(tmp_path / "table")
    with pytest.raises(InputError, match="phrase table .* is damaged .*: save it anew"):
        PhraseTable.load(tmp_path / "table")


def test_loading_needs_no_tensorflow(table, tmp_path):
    table.save(tmp_path / "table")
    source = (
        "import sys; from ctxvision import PhraseTable; table = PhraseTable.load(sys.argv[1]); "
        "print(len(table), 'tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", source, tmp_path / "table"], capture_output=True, text=True)
    assert done.stdout.split() == ["4", "False"], done.stderr
