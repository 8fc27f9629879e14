"""Suite `calibration` on the tiny run."""

import shutil

import numpy as np
import pytest

import ctxvision as cv
from ctxvision._files import read_json
from ctxvision.evaluation.calibration import at_thresholds, calibration
from ctxvision.layers.context_fusion import MEMBERS
from ctxvision.metrics.records import select
from ctxvision.training.progress import Progress


@pytest.fixture
def copy(request, tmp_path):
    run = request.getfixturevalue(request.param)
    return cv.Run(shutil.copytree(run.directory, tmp_path / "run"))


def check_bins(records, method, split):
    """Checks that shares sum to 1 and that the bins agree with the ECE."""
    here = {r.metric: r.value for r in select(records, method=method, split=split, seed=None)}
    numbers = {name[3:5] for name in here if name.startswith("bin")}
    assert all(f"bin{n}_{what}" in here for n in numbers for what in ("confidence", "accuracy", "share"))
    assert sum(here[f"bin{n}_share"] for n in numbers) == pytest.approx(1)
    assert all(int(n) / 15 - 1e-6 <= here[f"bin{n}_confidence"] <= (int(n) + 1) / 15 + 1e-6 for n in numbers)
    gap = sum(
        here[f"bin{n}_share"] * abs(here[f"bin{n}_accuracy"] - here[f"bin{n}_confidence"]) for n in numbers
    )
    eces = [r.value for r in select(records, method=method, split=split, metric="ece")]
    assert gap <= np.mean(eces) + 1e-6  # the bins hold all seeds, so errors of two seeds may cancel


def right_of(records, method, split):
    """The accuracy over all bins."""
    here = {r.metric: r.value for r in select(records, method=method, split=split, seed=None)}
    return sum(
        here[name] * here[name.replace("share", "accuracy")] for name in here if name.endswith("share")
    )


@pytest.mark.parametrize("copy", ["tiny_run"], indirect=True)
def test_of_one_label_a_picture(copy):
    records = calibration(copy, Progress(), seeds=2)
    for split in ("easy", "hard", "all"):
        for method in ("uncalibrated", "calibrated"):
            check_bins(records, method, split)
            chance = [r.value for r in select(records, method=method, split=split, metric="ece_by_chance")]
            assert len(chance) == 2 and 0 <= min(chance) < 0.5
        for member in MEMBERS:
            weights = [r.value for r in select(records, split=split, metric=f"weight_{member}")]
            assert len(weights) == 2 and min(weights) >= 0
        shares = [r.value for r in select(records, split=split, metric="uniform_share")]
        assert len(shares) == 2 and all(0 <= share <= 0.5 for share in shares)
    easy, hard, together = (right_of(records, "calibrated", split) for split in ("easy", "hard", "all"))
    assert together == pytest.approx((easy + hard) / 2)  # both splits have the same number of pictures
    assert calibration(copy, Progress(), seeds=2) == records


@pytest.mark.parametrize("copy", ["multi_label_run"], indirect=True)
def test_of_several_labels_a_picture(copy):
    records = calibration(copy, Progress(), seeds=1)
    for split in ("easy", "hard", "all"):
        check_bins(records, "thresholds", split)
    found = {r.metric: r.value for r in select(records, split="easy", seed=0)}
    assert found["precision_at_threshold"] > 0.7 and found["recall_at_threshold"] > 0.5
    assert found["weight_context"] > 0 and "uniform_share" not in found


def test_what_thresholds_reach_by_hand():
    probabilities, targets = np.array([[0.9, 0.2], [0.6, 0.8]]), np.array([[1, 1], [0, 1]])
    assert at_thresholds(probabilities, targets, np.array([0.5, 0.5])) == {
        "recall_at_threshold": pytest.approx(2 / 3),
        "precision_at_threshold": pytest.approx(2 / 3),
    }
    assert at_thresholds(probabilities, targets, np.ones(2)) == {"recall_at_threshold": 0.0}


def test_the_classifier_keeps_its_weights(tiny_run):
    choice = read_json(tiny_run.directory / "head" / "choice.json")
    weights = choice["member_weights"]
    assert len(weights) == len(MEMBERS) and 0 <= min(weights) <= max(weights) <= 100
    np.testing.assert_allclose(tiny_run.classifier.fusion.member_weights, weights, rtol=1e-5)
    assert 0 <= choice["uniform_share"] <= 0.5
    assert tiny_run.classifier.fusion.uniform_share.numpy() == pytest.approx(choice["uniform_share"])
    assert 0 <= choice["val_ece"] <= 1 and 0 <= choice["val_ece_uncalibrated"] <= 1
