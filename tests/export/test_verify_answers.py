"""Each check of verify.py on answers reports an answer with a single error."""

import numpy as np
import pytest
from _verify import checks
from _verify.artefact import Artefact, Miss, drawn_pictures


class Tampered(Artefact):
    """An export whose answers have one change."""

    def __init__(self, loaded, change):
        super().__init__(loaded.directory)
        self.loaded, self.change = loaded.loaded, change

    def answer(self, signature, pictures):
        found = super().answer(signature, pictures)
        self.change(found, pictures)
        return found


def _add(key, amount, when=lambda pictures: True):
    def change(answer, pictures):
        if key in answer and when(pictures):
            answer[key] = answer[key] + np.float32(amount)

    return change


def _scale(key, factor):
    def change(answer, pictures):
        answer[key] = answer[key] * np.float32(factor)

    return change


def _cut(key):
    def change(answer, pictures):
        if key in answer:
            answer[key] = answer[key][:, :1]

    return change


def _put(key, value):
    def change(answer, pictures):
        if key in answer and len(pictures):
            answer[key][-1] = value

    return change


@pytest.mark.parametrize(
    ("check", "change", "match"),
    [
        (
            checks.alone_and_together,
            _add("scores", 1e-4, lambda p: len(p) == 8),
            "row 0 of 8: scores differ by",
        ),
        (checks.broken_picture, _add("scores", 1e-4), "of a broken picture: scores is"),
        (
            checks.broken_picture,
            _add("scores", 1e-4, lambda p: len(p) == 3),
            "beside a broken picture: scores",
        ),
        (
            checks.probabilities,
            _scale("probabilities", 0.99),
            "probabilities must sum to 1, got sums that are off by",
        ),
        (checks.probabilities, _add("probabilities", -0.9), "probabilities must be in 0 .. 1, got -0"),
        (checks.labels, _add("scores", 1e-3), "scores are not the highest"),
        (checks.batch_sizes, _put("valid", False), r"of 1 pictures: valid is \[False\]"),
        (checks.batch_sizes, _cut("phrases"), r"of 1 pictures: phrase\w* is \[1, "),
    ],
)
def test_each_check_can_miss(loaded, check, change, match):
    check(loaded, drawn_pictures())
    with pytest.raises(Miss, match=match):
        check(Tampered(loaded, change), drawn_pictures())


def test_only_ties_may_be_in_any_order():
    answer = {
        "phrases": np.array([[b"a", b"b", b"c"]], object),
        "phrase_scores": np.array([[0.5, 0.25, 0.25]], np.float32),
        "phrase_shares": np.array([[[0.1, 0.2, 0.3]]], np.float32),
    }
    swapped = {key: value[..., [0, 2, 1]] for key, value in answer.items()}
    checks._expect_same("explain", swapped, answer)
    with pytest.raises(Miss, match="phrase_shares differ by 0.1"):
        checks._expect_same("explain", {**swapped, "phrase_shares": answer["phrase_shares"]}, answer)
    untied = {key: value[..., [1, 0, 2]] for key, value in answer.items()}
    with pytest.raises(Miss, match="phrase_scores differ by 0.25"):
        checks._expect_same("explain", {**untied, "phrase_scores": answer["phrase_scores"]}, answer)
    with pytest.raises(Miss, match="phrases differ"):
        checks._expect_same("explain", {**answer, "phrases": np.array([[b"a", b"b", b"d"]], object)}, answer)
