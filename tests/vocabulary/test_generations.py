"""What readers see while a table is written, and what an interrupted write leaves."""

import errno
import json
import os

import numpy as np
import pytest

from ctxvision import InputError, PhraseTable
from ctxvision.vocabulary import PhraseTableWriter, _columns, generations
from tests.vocabulary.small_table import contents, names


def inodes(folder):
    (generation,) = folder.glob("generation-*")
    return {path.stem: path.stat().st_ino for path in generation.iterdir()}


CHANGES = {
    "upsert": lambda table: table.upsert(
        ["猫", "neko"], [[0.0, 1.0], [1.0, 1.0]], text_embeddings=np.ones([2, 4])
    ),
    "remove": lambda table: table.remove(["猫"]),
    "merge": lambda table: table.merge(
        PhraseTable.from_arrays(["猫", "neko"], np.ones([2, 2]), text_embeddings=np.ones([2, 4]))
    ),
    "shrink": lambda table: table.shrink(2),
    "save": lambda table: table.save(table.directory),
}
change = pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)


def test_unchanged_columns_are_linked(folder):
    before = inodes(folder)
    table = PhraseTable.load(folder)
    table.remove(["猫"])
    after = inodes(folder)
    assert {name for name in after if after[name] != before[name]} == {"live"}
    table.upsert(["red car"], [[1.0, 0.0]])
    assert {name for name in after if after[name] != inodes(folder)[name]} == {"prototypes"}
    assert names(folder) == [".lock", "generation-3", "table.json"]


def test_columns_are_copied_where_links_are_refused(folder, monkeypatch):
    def refuse(source, target):
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    table = PhraseTable.load(folder)
    table.remove(["猫"])
    assert contents(PhraseTable.load(folder)) == contents(table)
    assert table.live.tolist() == [True, True, False, True]


@change
def test_a_full_disk_leaves_the_old_generation(folder, monkeypatch, change):
    table = PhraseTable.load(folder)
    before, append, left = contents(table), _columns.ColumnFile.append, 0

    def fill(self, values):
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        append(self, values)

    monkeypatch.setattr(_columns.ColumnFile, "append", fill)
    failures = 0
    while True:
        left = failures
        try:
            change(table)
        except OSError as error:
            assert error.errno == errno.ENOSPC
            failures += 1
            assert contents(table) == contents(PhraseTable.load(folder)) == before
            assert names(folder) == [".lock", "generation-1", "table.json"]
        else:
            break
    assert failures > 0
    assert contents(table) == contents(PhraseTable.load(folder))
    assert names(folder) == [".lock", "generation-2", "table.json"]


def test_a_full_disk_while_a_first_table_is_saved(table, tmp_path, monkeypatch):
    def fill(self, values):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_columns.ColumnFile, "append", fill)
    with pytest.raises(OSError, match="No space left"):
        table.save(tmp_path / "new")
    (tmp_path / "empty").mkdir()
    with pytest.raises(OSError, match="No space left"):
        table.save(tmp_path / "empty")
    assert names(tmp_path) == ["empty"] and names(tmp_path / "empty") == []


def test_a_writer_interrupted_between_columns_does_not_finish(tmp_path, monkeypatch):
    append = _columns.ColumnFile.append

    def fill(self, values):
        if self.row_shape:
            raise OSError(errno.ENOSPC, "No space left on device")
        append(self, values)

    with pytest.raises(RuntimeError, match="was interrupted"):  # noqa: SIM117
        with PhraseTableWriter(tmp_path / "table", dim=1) as writer:
            writer.append(["a"], [[1.0]])
            monkeypatch.setattr(_columns.ColumnFile, "append", fill)
            with pytest.raises(OSError, match="No space left"):
                writer.append(["b"], [[1.0]])
            monkeypatch.undo()
            writer.append(["c"], [[1.0]])
    assert names(tmp_path) == []


@change
def test_a_stale_table_cannot_be_changed(folder, table, change):
    behind, ahead = PhraseTable.load(folder), PhraseTable.load(folder)
    ahead.remove(["Größe"])
    if change is CHANGES["save"]:
        return change(behind)
    with pytest.raises(
        InputError,
        match="must be at generation 1, .* got 2, written by another process: load the table again",
    ):
        change(behind)
    assert contents(behind) == contents(table)
    assert contents(PhraseTable.load(folder)) == contents(ahead)


def test_a_folder_written_again_at_the_same_generation_is_detected(folder, table):
    behind = PhraseTable.load(folder)
    folder.rename(folder.with_name("away"))
    table.take([0]).save(folder)
    with pytest.raises(InputError, match="load the table again"):
        behind.remove(["猫"])
    assert list(PhraseTable.load(folder).phrases) == ["red car"]


@change
def test_a_damaged_folder_is_not_changed(folder, change):
    table = PhraseTable.load(folder)
    (folder / "generation-1" / "counts.npy").unlink()
    if change is not CHANGES["save"]:
        with pytest.raises(InputError, match="phrase table .* is damaged .*: save it again"):
            change(table)
        assert names(folder) == [".lock", "generation-1", "table.json"]
    # The open table stays intact.
    table.save(folder)
    assert contents(PhraseTable.load(folder)) == contents(table)


def test_a_deleted_folder(folder):
    table = PhraseTable.load(folder)
    folder.rename(folder.with_name("away"))
    with pytest.raises(InputError, match="directory must hold a phrase table, got"):
        table.remove(["猫"])
    assert not folder.exists()


def test_the_next_writer_deletes_unfinished_generations(folder, table):
    for name in ("generation-7", "generation-2"):
        (folder / name).mkdir()
        (folder / name / "prototypes.npy").write_bytes(b"half")
    assert contents(PhraseTable.load(folder)) == contents(table)
    PhraseTable.load(folder).remove(["猫"])
    assert names(folder) == [".lock", "generation-2", "table.json"]


def test_a_killed_first_writer_does_not_block_others(table, tmp_path):
    (tmp_path / "generation-1").mkdir()
    (tmp_path / "generation-1" / "prototypes.npy").write_bytes(b"half")
    (tmp_path / ".lock").touch()
    with pytest.raises(InputError, match="directory must hold a phrase table"):
        PhraseTable.load(tmp_path)
    table.save(tmp_path)
    assert contents(PhraseTable.load(tmp_path)) == contents(table)
    assert names(tmp_path) == [".lock", "generation-1", "table.json"]


def test_only_save_replaces_a_table_before_ngrams(folder, table):
    facts = json.loads((folder / "table.json").read_text())
    (folder / "table.json").write_text(json.dumps({**facts, "format_version": 2}))
    with pytest.raises(
        InputError, match="must have format version 3, got 2: write the table again with this version"
    ):
        PhraseTable.load(folder)
    table.save(folder)
    assert contents(PhraseTable.load(folder)) == contents(table)
    assert names(folder) == [".lock", "generation-2", "table.json"]


def test_only_save_replaces_a_table_of_format_version_1(table, tmp_path):
    (tmp_path / "table.json").write_text(json.dumps({"format_version": 1, "rows": 1}))
    for name in ("counts", "mine"):
        np.save(tmp_path / f"{name}.npy", np.ones(1, np.int64))
    with pytest.raises(
        InputError, match="must have format version 3, got 1: write the table again with this version"
    ):
        PhraseTable.load(tmp_path)
    table.save(tmp_path)
    assert contents(PhraseTable.load(tmp_path)) == contents(table)
    assert names(tmp_path) == [".lock", "generation-1", "mine.npy", "table.json"]


def test_a_late_reader_reads_the_next_generation(folder, monkeypatch):
    """Another process writes after this one read table.json and before it reads the columns."""
    writer, calls, late = PhraseTable.load(folder), [], {1: "red car", 4: "猫", 7: "Größe"}

    def patch():
        monkeypatch.setattr(generations, "generation_folder", lambda *a: slow(real_folder, *a))
        monkeypatch.setattr(generations, "_open", lambda *a: slow(real_open, *a))

    def slow(function, *arguments):
        result = function(*arguments) if function is real_folder else None
        calls.append(function)
        if len(calls) in late:
            monkeypatch.undo()
            writer.remove([late[len(calls)]])
            patch()
        return result or function(*arguments)

    real_folder, real_open = generations.generation_folder, generations._open
    patch()
    table = PhraseTable.load(folder)
    assert table.live.tolist() == [False, False, False, True]
    assert len(calls) > 9
