"""Differences between heads as means over settings."""

import numpy as np
import pytest

from ctxvision.evaluation.features import Features
from ctxvision.evaluation.heads import Heads
from ctxvision.training.progress import Progress


def test_mean_gain_is_the_mean_of_gains(tiny_run):
    heads = Heads(Features(tiny_run, Progress()), "a", total=1)
    rng = np.random.default_rng(0)
    one, other = ([[{"test": rng.integers(0, 2, 40)} for _ in range(2)] for _ in range(3)] for _ in range(2))
    gains = [heads.gain(a, b, "base")[0].value for a, b in zip(one, other, strict=True)]
    records = {record.metric: record.value for record in heads.mean_gain(one, other, "base", method="m")}
    assert records["top1_over_base"] == pytest.approx(np.mean(gains), abs=1e-6)
    assert records["top1_over_base_low"] < records["top1_over_base"] < records["top1_over_base_high"]


def test_a_head_of_another_suite_is_not_measured_again(tiny_run, tmp_path, monkeypatch):
    monkeypatch.setattr(tiny_run, "directory", tmp_path)
    monkeypatch.setattr(type(tiny_run.context), "vocabulary_generation", 1)
    features = Features.__new__(Features)
    features.run, features.progress = tiny_run, Progress()
    folder = tmp_path / "measured" / "first" / "1"
    folder.mkdir(parents=True)
    np.savez(folder / "head-seed3.npz", test=np.arange(4))
    ranks = Heads(features, "second", total=1).ranks("head", lambda split: [], 3, "first")
    np.testing.assert_array_equal(ranks["test"], np.arange(4))
