"""Which queries are classes of the phrase generator."""

import numpy as np

import ctxvision as cv
from ctxvision.context.generator import class_numbers, padded_classes
from ctxvision.training.query_log import QueryLog


def test_queries_of_enough_pictures_in_the_contexts_languages_are_classes():
    counts = np.array([5, 4, 3, 2, 1])
    log = QueryLog(list("abcde"), ["en", "es", "en", "en", "en"], counts, np.zeros(0), np.zeros(0))
    found = class_numbers(log, cv.ContextConfig(min_class_count=2))
    assert found.tolist() == [0, -1, 1, 2, -1]
    both = class_numbers(log, cv.ContextConfig(min_class_count=4, languages=("en", "es")))
    assert both.tolist() == [0, 1, -1, -1, -1]


def test_classes_of_a_picture_are_padded():
    pictures, classes = np.array([0, 0, 0, 2]), np.array([4, -1, 1, 3])
    assert padded_classes(3, pictures, classes).tolist() == [[4, 1], [-1, -1], [3, -1]]
