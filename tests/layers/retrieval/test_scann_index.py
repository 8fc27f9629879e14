"""ScaNN's index, built block by block, has ScaNN's own partitions and codes and all rows."""

from pathlib import Path

import numpy as np
import pytest

from ctxvision._tfrs import has_scann
from tests.tiny_data import NO_SCANN

if not has_scann():
    pytest.skip(NO_SCANN, allow_module_level=True)

from ctxvision.layers.retrieval import scann_index  # noqa: E402
from ctxvision.layers.retrieval.scann_index import build_index  # noqa: E402
from tests.layers.retrieval.oracle import clustered  # noqa: E402

N = 1500
ROWS = clustered(0, N, dim=9, clusters=100)  # the last block has one dimension
ROWS[: N // 2] *= 0.6  # rows of few pictures are shorter


@pytest.fixture
def learnt(monkeypatch):
    """Records the leaves and codes that ScaNN gives the rows it learns from."""
    own, load = {}, scann_index.scann_ops_pybind.load_searcher

    def read(folder):
        for name in ("datapoint_to_token", "hashed_dataset"):
            own[name] = np.load(Path(folder, f"{name}.npy"))
        return load(folder)

    monkeypatch.setattr(scann_index.scann_ops_pybind, "load_searcher", read)
    return own


@pytest.mark.parametrize("block", [N, 400])
def test_leaves_and_codes_equal_those_of_scann(monkeypatch, learnt, block):
    monkeypatch.setattr(scann_index, "_ROWS_AT_A_TIME", block)
    state = build_index(ROWS, np.arange(N), num_lists=20, probes=5, depth=30)
    assert (state.datapoint_to_token.numpy() == learnt["datapoint_to_token"]).mean() > 0.999
    assert (state.hashed_dataset.numpy() == learnt["hashed_dataset"]).mean() > 0.999
    lists = np.unique(learnt["datapoint_to_token"])
    np.testing.assert_array_equal(np.unique(state.datapoint_to_token), lists)
    # There are many leaves, so equality is not trivial; ScaNN's k-means has left one of the 20 empty.
    assert len(lists) >= 19 and len(np.unique(learnt["hashed_dataset"])) == 16


def test_rows_are_the_requested_ones_unchanged(monkeypatch):
    monkeypatch.setattr(scann_index, "_ROWS_AT_A_TIME", 100)
    monkeypatch.setattr(scann_index, "_SMALLEST_SAMPLE", 200)
    ids = np.arange(1, N, 2)
    state = build_index(ROWS, ids, num_lists=3, probes=3, depth=30)
    np.testing.assert_array_equal(state.dataset, ROWS[ids])
    assert state.datapoint_to_token.shape == ids.shape and state.hashed_dataset.shape == (len(ids), 5)
