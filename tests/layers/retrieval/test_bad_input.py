"""What cannot be indexed, taken over or tuned with, in one sentence each."""

import numpy as np
import pytest

from ctxvision import PhraseTable, PrototypeRetrieval
from ctxvision.errors import InputError
from ctxvision.layers import prototype_retrieval
from ctxvision.layers.retrieval import memory

RANDOM = np.random.default_rng(0)
TABLE = PhraseTable.from_arrays([f"phrase {i}" for i in range(64)], RANDOM.normal(size=(64, 4)))


def test_languages_as_a_string():
    with pytest.raises(ValueError, match=r"languages must be a list of codes, got 'en': write \['en'\]"):
        PrototypeRetrieval(k=2).index(TABLE, languages="en")


@pytest.mark.parametrize("ids", [[-1], [3, 64]])
def test_ids_outside_the_table(ids):
    layer = PrototypeRetrieval(k=2).index(TABLE)
    with pytest.raises(ValueError, match=rf"ids must be rows of the table, 0..63, got {ids[-1]}"):
        layer.update(TABLE, np.array(ids))


@pytest.mark.parametrize("queries", [np.ones([0, 4]), np.ones([2, 5]), np.ones(4), np.zeros([2, 4])])
def test_unusable_queries_for_tuning(monkeypatch, queries):
    monkeypatch.setattr(prototype_retrieval, "FEWEST_ROWS", 16)
    with pytest.raises(ValueError, match=r"queries must be \[Q, 4\], none zero or NaN"):
        PrototypeRetrieval(k=3).tune(TABLE, queries=queries)


@pytest.mark.parametrize("limited_by", ["machine", "container"])
def test_less_memory_than_the_index_needs(monkeypatch, tmp_path, limited_by):
    free, limit = (3, "max") if limited_by == "machine" else (9_000_000, "3500")
    (tmp_path / "meminfo").write_text(f"MemTotal: 9000000 kB\nMemAvailable: {free} kB\n")
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "memory.stat").write_text("anon 428\nfile 12\n")
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    assert memory.available_bytes() == 3072
    layer = PrototypeRetrieval(k=2)
    with pytest.raises(
        InputError, match="got 64 phrases, whose index takes 0.0 GB, and 0.0 GB are available"
    ):
        layer.index(TABLE)
    with pytest.raises(ValueError, match="has no phrases yet"):
        layer(np.ones([1, 4], np.float32))


def test_a_system_that_does_not_tell_its_memory(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "absent")
    assert memory.available_bytes() is None
    PrototypeRetrieval(k=2).index(TABLE)
