import json
import os
import subprocess
import sys

import numpy as np
import pytest

from ctxvision import InputError, PhraseTable
from tests.vocabulary.small_table import contents

GENERATION = "generation-1"


def test_save_and_load(table, tmp_path):
    table.save(tmp_path / "a" / "table")
    loaded = PhraseTable.load(tmp_path / "a" / "table")
    assert contents(loaded) == contents(table)
    np.testing.assert_array_equal(loaded.text_embeddings, np.eye(4))
    assert isinstance(loaded.prototypes, np.memmap) and isinstance(loaded.text_embeddings, np.memmap)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["table"]


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


def test_changes_of_a_loaded_table_are_written_at_once(table, tmp_path):
    table.save(tmp_path / "table")
    mine, early = PhraseTable.load(tmp_path / "table"), PhraseTable.load(tmp_path / "table")
    assert mine.directory == tmp_path / "table"
    vectors, text = [[1.0, 0.0], [0.0, 1.0]], np.ones([2, 4])
    mine.upsert(["red car", "new"], vectors, [50, 60], text_embeddings=text)
    mine.remove(["Größe"])
    again = PhraseTable.load(tmp_path / "table")
    assert contents(again) == contents(mine)
    assert again.counts.tolist() == [50, 0, 7, 1, 60] and again.live.tolist() == [
        True,
        False,
        True,
        True,
        True,
    ]
    # The table that was open before still reads the old generation.
    assert contents(early) == contents(table)


def test_saving_over_its_own_folder(table, tmp_path):
    table.save(tmp_path / "table")
    loaded = PhraseTable.load(tmp_path / "table")
    loaded.remove(["猫"])
    loaded.save(tmp_path / "table")
    loaded.save(tmp_path / "copy")
    loaded.remove(["Größe"])
    assert PhraseTable.load(tmp_path / "table").live.tolist() == [True, False, False, True]
    assert PhraseTable.load(tmp_path / "copy").live.tolist() == [True, True, False, True]


def test_save_never_replaces_other_contents(table, tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("keep me")
    for place in (tmp_path / "letters", tmp_path / "letters" / "dear.txt"):
        with pytest.raises(InputError, match="directory must be new, empty or a phrase table's, got"):
            table.save(place)
    assert (tmp_path / "letters" / "dear.txt").read_text() == "keep me"
    (tmp_path / "empty").mkdir()
    table.save(tmp_path / "empty")
    assert len(PhraseTable.load(tmp_path / "empty")) == 4


def test_load_refuses_other_contents(table, tmp_path):
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match="directory must hold a phrase table, got"):
            PhraseTable.load(place)
    table.save(tmp_path / "table")
    (tmp_path / "table" / "table.json").write_text('{"format_version": 99}')
    with pytest.raises(InputError, match="must have format version 3, got 99"):
        PhraseTable.load(tmp_path / "table")


def test_longest_phrase_is_kept(tmp_path):
    longest = "é" * 500
    PhraseTable.from_arrays([longest], [[1.0]]).save(tmp_path / "table")
    assert PhraseTable.load(tmp_path / "table").phrases[0] == longest


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
        lambda folder: (folder / "table.json").write_text('{"format_version": 3}'),
        replace(rows=3),
        replace(rows=0),
        replace(dim=3),
        replace(text_dim=3),
        replace(ngrams=3),
        replace(dtype="float16"),
        replace(dtype="no dtype"),
        replace(phrase_bytes=3),
        replace(generation="x"),
        replace(generation=7),
        replace(flags=["no"]),
        replace(language_codes=None),
        lambda folder: (folder / GENERATION / "prototypes.npy").unlink(),
        lambda folder: (folder / GENERATION / "text_embeddings.npy").unlink(),
        lambda folder: (folder / GENERATION / "counts.npy").write_bytes(b""),
        lambda folder: (folder / GENERATION / "counts.npy").write_bytes(b"no array at all"),
        lambda folder: os.truncate(folder / GENERATION / "prototypes.npy", 140),
        lambda folder: np.save(folder / GENERATION / "phrases.npy", np.zeros(5, np.uint8)),
        lambda folder: np.save(folder / GENERATION / "phrase_ends.npy", np.arange(4)),
        lambda folder: np.save(
            folder / GENERATION / "counts.npy", np.array([1, "a", None, 2], object), allow_pickle=True
        ),
    ],
)
def test_damaged_table(table, tmp_path, damage):
    table.save(tmp_path / "table")
    damage(tmp_path / "table")
    with pytest.raises(InputError, match="phrase table .* is damaged .*: save it again"):
        PhraseTable.load(tmp_path / "table")
    table.save(tmp_path / "table")
    assert contents(PhraseTable.load(tmp_path / "table")) == contents(table)


def test_loading_needs_no_tensorflow(table, tmp_path):
    table.save(tmp_path / "table")
    source = (
        "import sys; from ctxvision import PhraseTable; table = PhraseTable.load(sys.argv[1]); "
        "print(len(table), 'tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", source, tmp_path / "table"], capture_output=True, text=True)
    assert done.stdout.split() == ["4", "False"], done.stderr
