"""The index is tuned on pictures from which the generator does not learn."""

import numpy as np
import pytest

from ctxvision.context.held_out import held_out_rows, trained_on
from ctxvision.training.loaded_data import LoadedData
from tests.tiny_data import write_tiny_data


@pytest.fixture
def web(tmp_path):
    """Makes data with this many pictures that have queries and nothing else."""
    return lambda number: LoadedData(write_tiny_data(tmp_path / str(number), number, 0, 0), 8)


def test_labelled_pictures_are_taken_if_there_are_any(tiny_data):
    data = LoadedData(tiny_data, 8)
    split, rows = held_out_rows(data)
    assert split == "train" and rows.tolist() == list(range(len(data.split("train"))))
    assert trained_on(data).all()


def test_one_in_twenty_pictures_with_queries_is_held_out(web):
    data = web(60)
    split, rows = held_out_rows(data)
    assert split == "web" and len(rows) == 3 and (np.diff(rows) > 0).all()
    assert np.flatnonzero(~trained_on(data)).tolist() == rows.tolist()


def test_none_of_a_few_pictures_is_held_out(web):
    data = web(8)
    assert held_out_rows(data)[1].tolist() == list(range(8)) and trained_on(data).all()
