"""Measurements that a run keeps are those of its classifier as it is."""

import numpy as np

import ctxvision as cv
from ctxvision.evaluation.kept import Kept


def measured(run, value):
    return Kept(cv.Run(run.directory), "suite").arrays("a", lambda: {"x": np.array([value])})["x"].tolist()


def test_a_concept_from_words_is_measured_anew(run):
    assert measured(run, 1) == measured(run, 2) == [1]
    run.add_concept("tomato", words=["ripe tomato"])
    assert measured(run, 3) == measured(run, 4) == [3]
    run.remove_concept("tomato")
    assert measured(run, 5) == [1]
