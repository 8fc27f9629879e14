"""A small change of a large table on disk copies no wide column."""

import json
import os
import shutil

import numpy as np
import pytest

from ctxvision import InputError, PhraseTable
from ctxvision.vocabulary.ngrams import Ngrams
from tests.vocabulary.small_table import contents

N = 200
WIDE = ("prototypes", "ngrams")


def rows(seed, count):
    random = np.random.default_rng(seed)
    ngrams = Ngrams(random.integers(1, 50, [count, 6]).astype(np.uint16), 50)
    return {"prototypes": random.normal(size=[count, 8]), "ngrams": ngrams}


@pytest.fixture
def folder(tmp_path):
    PhraseTable.from_arrays([f"p{i}" for i in range(N)], **rows(0, N)).save(tmp_path / "table")
    return tmp_path / "table"


def inodes(folder):
    (generation,) = folder.glob("generation-*")
    return {path.name: path.stat().st_ino for path in generation.iterdir()}


def in_memory(folder):
    """A copy of the table that changes without files."""
    return PhraseTable.load(folder).take(np.arange(len(PhraseTable.load(folder))))


def check(folder, expected):
    for table in (PhraseTable.load(folder), PhraseTable.load(folder).take(np.arange(len(expected)))):
        assert contents(table) == contents(expected)
        np.testing.assert_array_equal(table.ngrams.ids, expected.ngrams.ids)
        np.testing.assert_array_equal(
            table.ids([*expected.phrases]), np.where(expected.live, np.arange(len(expected)), -1)
        )


def test_new_and_changed_rows_copy_no_wide_column(folder):
    before, expected = inodes(folder), in_memory(folder)
    table = PhraseTable.load(folder)
    for turn, phrases in enumerate([["new", "p3"], ["p3", "newer"], ["new", "p150"], ["newest"]]):
        change = rows(turn + 1, len(phrases))
        np.testing.assert_array_equal(table.upsert(phrases, **change), expected.upsert(phrases, **change))
        check(folder, expected)
        assert contents(table) == contents(expected)
    after = inodes(folder)
    assert {name: after[f"{name}.npy"] for name in (*WIDE, "phrases")} == {
        name: before[f"{name}.npy"] for name in (*WIDE, "phrases")
    }
    changed = np.load(next(folder.glob("generation-*")) / "prototypes.rows.npy")
    assert changed.tolist() == [3, 150, N]
    assert json.loads((folder / "table.json").read_text())["format_version"] == 4


def test_readers_keep_their_generation(folder):
    table, reader = PhraseTable.load(folder), PhraseTable.load(folder)
    before = contents(in_memory(folder))
    table.upsert(["new", "p3"], **rows(1, 2))
    second, kept = PhraseTable.load(folder), contents(table)
    table.upsert(["p3", "p7", "newer"], **rows(2, 3))
    assert contents(reader) == before and contents(second) == kept


def test_changed_rows_survive_streams_removal_and_shrinking(folder):
    table, expected = PhraseTable.load(folder), in_memory(folder)
    for changing in (table, expected):
        changing.upsert(["new", "p3"], **rows(1, 2))
        changing.remove(["p5"])
        changing.merge(PhraseTable.from_arrays(["p9", "p3"], **rows(2, 2)))
    check(folder, expected)
    table.save(folder.parent / "copy")
    check(folder.parent / "copy", expected)
    assert json.loads((folder.parent / "copy" / "table.json").read_text())["format_version"] == 3
    for changing in (table, expected):
        changing.shrink()
    check(folder, expected)
    assert not list(folder.glob("generation-*/*.rows.npy"))


def test_many_changed_rows_are_written_into_the_column(folder):
    before, table, expected = inodes(folder), PhraseTable.load(folder), in_memory(folder)
    for start in (0, 2, 4):
        phrases = [f"p{i}" for i in range(start, start + 2)]
        for changing in (table, expected):
            changing.upsert(phrases, **rows(start, 2))
    check(folder, expected)  # 200 // 64 = 3 rows may lie beside their column
    after = inodes(folder)
    assert after["prototypes.npy"] != before["prototypes.npy"]
    assert len(np.load(next(folder.glob("generation-*")) / "prototypes.rows.npy")) == 2


def test_a_new_flag_is_a_new_column(folder):
    table, expected = PhraseTable.load(folder), in_memory(folder)
    for changing in (table, expected):
        changing.upsert(["new"], **rows(1, 1), flags={"odd": [True]})
        changing.upsert(["newer"], **rows(2, 1), flags={"odd": [False]})
    check(folder, expected)


def test_tables_that_share_files_do_not_disturb_each_other(folder):
    fork = folder.parent / "fork"
    shutil.copytree(folder, fork, copy_function=os.link)
    mine, theirs = PhraseTable.load(folder), PhraseTable.load(fork)
    expected = in_memory(folder), in_memory(folder)
    for turn in range(2):
        for seed, tables in enumerate(zip((mine, theirs), expected)):
            for table in tables:
                table.upsert([f"new {turn} of {seed}", "p3"], **rows(10 * turn + seed, 2))
    check(folder, expected[0])
    check(fork, expected[1])


def test_rows_of_an_interrupted_change_are_overwritten(folder, monkeypatch):
    table, expected = PhraseTable.load(folder), in_memory(folder)
    replace = os.replace

    def interrupt(source, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        table.upsert(["lost", "lost too", "p3"], **rows(1, 3))
    monkeypatch.setattr(os, "replace", replace)
    check(folder, expected)
    for changing in (table, expected):
        changing.upsert(["kept"], **rows(2, 1))
    check(folder, expected)


@pytest.mark.parametrize("name", ["prototypes.rows.npy", "prototypes.values.npy"])
def test_missing_changed_rows(folder, name):
    PhraseTable.load(folder).upsert(["p3"], **rows(1, 1))
    (next(folder.glob("generation-*")) / name).unlink()
    with pytest.raises(InputError, match="phrase table .* is damaged .*: save it again"):
        PhraseTable.load(folder)
