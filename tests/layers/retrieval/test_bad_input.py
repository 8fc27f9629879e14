"""What cannot be indexed, taken over or tuned with, in one sentence each."""

import numpy as np
import pytest

from ctxvision import PhraseTable, PrototypeRetrieval
from ctxvision.layers import prototype_retrieval

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
