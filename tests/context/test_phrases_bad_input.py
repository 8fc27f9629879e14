"""Bad input to changes and searches of a vocabulary raises one sentence and changes nothing."""

import numpy as np
import pytest

import ctxvision as cv
from tests.tiny_data import MASCOT, files_of

RED, BLUE, SPACE = (
    ["red square", "ripe tomato"],
    ["blue square", "deep sea"],
    np.zeros([1, 16, 16, 3], np.uint8),
)
BAD = {
    "an unreadable picture": (
        lambda run, place: cv.add_phrase(run, MASCOT, [place / "a.png", place / "notes.txt"]),
        "images must be JPEG, PNG, GIF, BMP or still WebP files, got '.*notes.txt' that cannot be decoded, damaged",
    ),
    "an empty folder": (
        lambda run, place: cv.add_phrase(run, MASCOT, place / "empty"),
        r"images must name pictures or a folder that holds some, got \['.*empty'\]: give at least one",
    ),
    "no paths": (
        lambda run, place: cv.add_phrase(run, MASCOT, []),
        r"images must name pictures or a folder that holds some, got \[\]",
    ),
    "a missing path": (
        lambda run, place: cv.add_phrase(run, MASCOT, [place / "a.png", place / "z.png"]),
        "images must exist, got '.*z.png': check the path",
    ),
    "pixels of another type": (
        lambda run, place: cv.add_phrase(run, MASCOT, np.zeros([2, 16, 16, 3])),
        r"images must be uint8 \[N, S, S, 3\] with N at least 1, got float64 \[2, 16, 16, 3\]",
    ),
    "no words": (lambda run, place: cv.add_phrase(run, " ", SPACE), "phrase must have words, got ' '"),
    "no text": (
        lambda run, place: cv.add_phrase(run, MASCOT, SPACE, text=""),
        "text must have words, got '': write at least one word",
    ),
    "half a character": (
        lambda run, place: cv.add_phrase(run, "\udcff", SPACE),
        r"phrases must be valid Unicode, got '\\udcff'",
    ),
    "half a character of text": (
        lambda run, place: cv.add_phrase(run, MASCOT, SPACE, text="\udcff"),
        r"text must be valid Unicode, got '\\udcff'",
    ),
    "a phrase of 10 kB": (
        lambda run, place: cv.add_phrase(run, "x" * 10_000, SPACE),
        "phrases must have at most 1,000 UTF-8 bytes, got 10,000",
    ),
    "no str": (lambda run, place: cv.add_phrase(run, b"x", SPACE), "phrases must be a sequence of str"),
    "an unknown phrase": (
        lambda run, place: cv.remove_phrases(run, ["red square", "dog"]),
        "phrases to remove must be in the table, got 'dog'",
    ),
    "a phrase for a list": (
        lambda run, place: cv.remove_phrases(run, "rojo"),
        "phrases must be a sequence of str, got 'rojo'",
    ),
    "too many": (
        lambda run, place: cv.remove_phrases(run, [*RED, *BLUE, "fresh lawn", "sweet lemon", "rojo"]),
        "phrases to remove must leave the 3 that the classifier retrieves, got 6 of 8: remove fewer",
    ),
    "an unknown language": (
        lambda run, place: cv.list_phrases(run, "xx"),
        "language must be one of en, es, got 'xx'",
    ),
    "a query without words": (lambda run, place: cv.search_phrases(run, ""), "query must have words, got ''"),
    "a picture that is not there": (
        lambda run, place: cv.search_phrases(run, "cat.JPG"),
        "query must be a phrase or a picture's file, got 'cat.JPG', which does not exist",
    ),
    "no k": (lambda run, place: cv.search_phrases(run, "red", k=0), "k must be at least 1, got 0"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_changes_nothing(case, kept_run, folder):
    call, sentence = BAD[case]
    (folder / "empty").mkdir()
    before, phrases = files_of(kept_run), cv.list_phrases(kept_run)
    with pytest.raises(cv.InputError, match=sentence) as error:
        call(kept_run, folder)
    assert "\n" not in str(error.value)
    assert files_of(kept_run) == before and cv.list_phrases(kept_run) == phrases


def test_several_broken_pictures_are_counted(kept_run, folder):
    for name in ("x.png", "y.png"):
        (folder / name).write_text("no picture")
    with pytest.raises(cv.InputError, match=r"got '.*x.png' and 1 more that cannot be decoded"):
        cv.add_phrase(kept_run, MASCOT, folder)
