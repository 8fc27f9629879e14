"""Kinds of fusion, and three weightings of phrases."""

import shutil

import pytest

from ctxvision.classifier.run import Run
from ctxvision.evaluation.fusion import equal_budgets, fusion, num_parameters
from ctxvision.training.progress import Progress


@pytest.mark.parametrize(("dims", "num_labels"), [((128, 200), 67), ((2048, 200), 1000), ((8, 16), 4)])
def test_budgets_are_equal(dims, num_labels):
    means = 2 * sum(dims)  # means and variances of the standardisation
    concat = sum(dims) * 256 + 2 * 256 + 512 * 256 + 256 + 257 * num_labels + means
    arguments = equal_budgets(dims, num_labels)
    assert list(arguments) == ["concat", "mlb", "mutan", "pool"]
    assert arguments.pop("pool") == {"fusion": "pool"}
    for fusion_arguments in arguments.values():
        number = num_parameters(dims, num_labels=num_labels, **fusion_arguments)
        assert number == pytest.approx(concat, rel=0.02)


@pytest.mark.slow
def test_fusion(tiny_run, tmp_path):
    run = Run(shutil.copytree(tiny_run.directory, tmp_path / "run"))
    records = fusion(run, Progress(), seeds=1)
    values = {(r.method, r.split, r.metric): r.value for r in records}
    assert len(values) == len(records)
    counts = ["uniform@1", "uniform@3", "uniform@5"]  # the vocabulary has fewer than ten phrases
    methods = ["concat", "mlb", "mutan", "pool", *counts, "uniform", "similarity", "attention"]
    assert list(dict.fromkeys(r.method for r in records if r.metric == "top1")) == methods
    assert {r.fraction for r in records if r.metric == "top1"} == {0.5}
    # The tiny run averages three phrases, so these two are the same head.
    assert values["concat", "easy", "top1"] == values["uniform@3", "easy", "top1"]
    for method, base in [("mlb", "concat"), ("uniform@5", "uniform@3"), ("attention", "uniform")]:
        difference = values[method, "hard", "top1"] - values[base, "hard", "top1"]
        assert values[method, "hard", f"top1_over_{base}"] == pytest.approx(difference)
    assert values["mlb", None, "parameters"] == pytest.approx(values["concat", None, "parameters"], rel=0.02)
    # Any of these heads tells colours apart.
    assert min(values[method, "easy", "top1"] for method in methods) > 0.5
