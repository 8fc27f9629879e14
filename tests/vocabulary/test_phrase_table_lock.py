"""One writer at a time."""

import fcntl
import os
import threading
import time

import pytest

from ctxvision import InputError, PhraseTable
from ctxvision.vocabulary import PhraseTableWriter, generations
from tests.vocabulary.small_table import contents


@pytest.fixture
def folder(table, tmp_path):
    table.save(tmp_path / "table")
    return tmp_path / "table"


def test_a_second_writer_waits(folder):
    order = []

    def save():
        started.wait()
        PhraseTable.from_arrays(["a"], [[1.0]]).save(folder)
        order.append("saved")

    started = threading.Event()
    thread = threading.Thread(target=save)
    thread.start()
    with PhraseTableWriter(folder, dim=1) as writer:
        started.set()
        time.sleep(0.2)
        writer.append(["b"], [[1.0]])
        order.append("written")
    thread.join()
    assert order == ["written", "saved"]
    assert list(PhraseTable.load(folder).phrases) == ["a"]


@pytest.mark.parametrize("missing", [False, True])
def test_a_second_writer_does_not_wait_for_ever(folder, table, tmp_path, monkeypatch, missing):
    monkeypatch.setattr(generations, "LOCK_SECONDS", 0.1)
    place = tmp_path / "new" if missing else folder
    with PhraseTableWriter(place, dim=1) as writer:
        with pytest.raises(
            InputError, match="must have one writer at a time, .* within 0.1 s: try again later"
        ):
            table.save(place)
        if not missing:
            assert contents(PhraseTable.load(folder)) == contents(table)
        writer.append(["a"], [[1.0]])
    assert list(PhraseTable.load(place).phrases) == ["a"]


def test_a_failed_first_writer_leaves_the_folder_to_a_waiting_one(table, tmp_path):
    def save():
        started.wait()
        table.save(tmp_path / "table")

    started = threading.Event()
    thread = threading.Thread(target=save)
    thread.start()
    with pytest.raises(ZeroDivisionError), PhraseTableWriter(tmp_path / "table", dim=1):
        started.set()
        time.sleep(0.1)
        1 / 0  # noqa: B018
    thread.join()
    assert contents(PhraseTable.load(tmp_path / "table")) == contents(table)


def test_a_deleted_lock_does_not_count(folder, monkeypatch):
    """Otherwise two processes could each lock a file of their own."""
    held = []

    def flock(lock, how):
        if not held:
            (folder / ".lock").unlink()
        held.append(os.fstat(lock).st_ino)
        real(lock, how)

    real = fcntl.flock
    monkeypatch.setattr(fcntl, "flock", flock)
    PhraseTable.load(folder).remove(["猫"])
    assert len(held) == 2 and held[1] == (folder / ".lock").stat().st_ino
