"""Suite `multi-label` on a run with several labels a picture."""

import numpy as np
import pytest

import ctxvision as cv
from ctxvision.evaluation.multi_label import ROWS, long_tail, multi_label, trainable_labels
from ctxvision.metrics.records import load_records, select
from ctxvision.training.progress import Progress


@pytest.fixture(scope="module")
def records(multi_label_run):
    return select(load_records(multi_label_run.directory / "metrics.json"), suite="multi-label")


def test_every_row_is_there_for_every_seed_and_split(records):
    heads = {(r.method, r.fraction, r.seed, r.split) for r in records if r.metric == "map"}
    assert heads == {(m, 1.0, seed, s) for m in ROWS for seed in (0, 1) for s in ("easy", "hard")}
    assert heads == {
        (r.method, r.fraction, r.seed, r.split) for r in records if r.metric == "recall_at_precision_80"
    }
    curve = select(records, method="multimodal", split="easy")
    assert sum(r.metric.startswith("precision_at_recall/") for r in curve) == 20
    labels = {r.metric.removeprefix("ap/") for r in curve if r.metric.startswith("ap/")}
    assert labels == {"warm", "cold", "red label", "green label", "blue label", "yellow label"}
    gains = {r.metric for r in records if r.method == "multimodal" and r.metric.startswith("map_over")}
    assert gains == {f"map_over_visual_only{end}" for end in ("", "_low", "_high")}


def test_numbers_agree_with_one_another(records):
    for split in ("easy", "hard"):
        here = select(records, split=split)
        mean = {m: np.mean([r.value for r in select(here, method=m, metric="map")]) for m in ROWS}
        gain = select(here, method="multimodal", metric="map_over_visual_only")[0].value
        assert gain == pytest.approx(mean["multimodal"] - mean["visual_only"])
        # Only "warm" and "cold" have twenty pictures in train, so mAP is the mean of their APs.
        assert select(here, metric="trainable_labels")[0].value == 2
        assert select(here, metric="trainable_positives")[0].value == 20
        for method in ROWS:
            aps = [select(here, method=method, metric=f"ap/{label}")[0].value for label in ("warm", "cold")]
            assert np.mean(aps) == pytest.approx(mean[method])
    curve = [r.value for r in select(records, method="multimodal", split="easy") if "at_recall/" in r.metric]
    assert curve == sorted(curve, reverse=True) and curve[0] > 0.9


def test_the_colours_were_learnt(records):
    easy = select(records, split="easy", metric="map")
    assert np.mean([r.value for r in select(easy, method="multimodal")]) > 0.9


def test_a_rank_correlation_for_every_seed(records):
    found = select(records, metric="gain_count_spearman")
    assert {(r.method, r.split) for r in found} <= {("multimodal_long_tailed", s) for s in ("easy", "hard")}
    assert all(-1 <= r.value <= 1 for r in found)


def test_a_run_of_one_label_a_picture_is_refused(tiny_run):
    with pytest.raises(cv.InputError, match="suite multi-label needs a run trained with several labels"):
        multi_label(tiny_run, Progress(), seeds=1)


def test_other_suites_refuse_a_multi_label_run(multi_label_run):
    with pytest.raises(cv.InputError, match="needs a run of one label a picture"):
        multi_label_run.data.label_ids("train")


def columns(*counts):
    """Targets [N, L] with one label a row and these counts of labels."""
    return np.repeat(np.eye(len(counts)), counts, axis=0)


def test_trainable_labels():
    least, enough = trainable_labels(columns(120, 100, 99, 3))
    assert least == 100 and enough.tolist() == [True, True, False, False]
    # Two of thirty labels are less than a tenth.
    least, enough = trainable_labels(columns(120, 100, *[20] * 28))
    assert least == 20 and enough.all()
    least, enough = trainable_labels(columns(120, 100, 99, 3), (99,))
    assert least == 99 and enough.tolist() == [True, True, True, False]
    least, enough = trainable_labels(columns(9, 4, 0))  # a small training is measured too
    assert least == 1 and enough.tolist() == [True, True, False]
    for steps, pictures in (((5,), "5 pictures"), ((5, 1), "1 picture")):
        with pytest.raises(
            cv.InputError,
            match=f"needs {pictures} in train for a tenth of the labels, and at least 2 labels, got 1 of 2",
        ):
            trainable_labels(columns(9, 0), steps)


def test_counts_of_a_long_tail_fall_exponentially():
    targets = np.hstack([columns(*[200] * 11), np.ones([2200, 1])])  # the last label is in all pictures
    rows = long_tail(targets, seed=3)
    counts = np.sort(targets[rows].sum(axis=0))[::-1]
    assert counts[0] == len(rows) == len(set(rows))
    # The random order has twelve places, and the common label takes one of them.
    ladder = [round(200 * 10 ** -(i / 11)) for i in range(12)]
    assert set(counts[1:]) < set(ladder) and len(set(counts[1:])) == 11
    assert not np.array_equal(rows, long_tail(targets, seed=4))
    assert np.array_equal(rows, long_tail(targets, seed=3))


def test_pictures_without_a_label_stay_in_a_long_tail():
    targets = np.vstack([columns(50, 50), np.zeros([7, 2])])
    assert (long_tail(targets, 0) >= 100).sum() == 7
