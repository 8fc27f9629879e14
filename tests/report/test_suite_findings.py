"""The finding of each suite is no stronger than its numbers."""

import re

import pytest

from ctxvision.metrics.records import Record
from ctxvision.report.findings import compared, differences, intervals, opening
from ctxvision.report.suite_findings import finding_of


def gain(suite, method, metric, interval, split="seen", **keys):
    """The three records of a difference: mean, low, high."""
    return [
        Record(suite=suite, method=method, metric=metric + end, value=value, split=split, **keys)
        for end, value in zip(("", "_low", "_high"), interval, strict=True)
    ]


def measured(suite, method, metric, *values, split="seen", **keys):
    """One record a seed."""
    return [
        Record(suite=suite, method=method, metric=metric, value=value, seed=seed, split=split, **keys)
        for seed, value in enumerate(values)
    ]


def test_the_interval_decides_where_there_is_one():
    keys = {"fraction": 0.1}
    # 0.5 points in every seed lie below one point; the interval decides.
    records = measured("table1", "visual_only", "top1", 0.2, 0.3, **keys)
    records += measured("table1", "multimodal", "top1", 0.205, 0.305, **keys)
    assert opening(records)[0].startswith(
        "Context makes no clear difference to top-1 with 10% of the labels: +0.5"
    )
    sure = gain("table1", "multimodal", "top1_over_visual_only", (0.005, 0.001, 0.009), **keys)
    assert opening(records + sure)[0] == (
        "Context raises top-1 with 10% of the labels: +0.5 points (+0.1 to +0.9) on seen (25.0 → 25.5%)."
    )
    # 10 points, with an interval that holds zero.
    records += measured("table1", "multimodal", "top1", 0.3, 0.4, split="new", **keys)
    records += measured("table1", "visual_only", "top1", 0.2, 0.3, split="new", **keys)
    unsure = gain("table1", "multimodal", "top1_over_visual_only", (0.1, -0.001, 0.2), split="new", **keys)
    assert [one.verdict for one in differences(records + sure + unsure, "multimodal")] == ["adds", "none"]
    finding = finding_of("table1", records + sure + unsure)
    assert (
        finding.verdict == "partly"
        and "on seen (25.0 → 25.5%). No clear difference: +10.0 points (−0.1 to +20.0) on new" in finding.text
    )


@pytest.mark.parametrize(
    "seen, new, verdict",
    [
        ((0.1, 0.05, 0.2), (0.1, 0.05, 0.2), "adds"),
        ((0.1, 0.05, 0.2), (0.1, 0.0, 0.2), "partly"),
        ((0.1, 0.05, 0.2), (-0.1, -0.2, -0.05), "mixed"),
        ((-0.1, -0.2, -0.05), (-0.1, -0.2, -0.05), "costs"),
        ((0.0, -0.1, 0.1), (0.1, -0.05, 0.2), "none"),
    ],
)
def test_the_verdict_is_that_of_all_splits(seen, new, verdict):
    records = [
        *gain("few-shot", "multimodal_pool", "top1_over_linear_probe", seen, shots=1),
        *gain("few-shot", "multimodal_pool", "top1_over_linear_probe", new, "new", shots=1),
        *gain("few-shot", "multimodal_pool", "top1_over_linear_probe", (0.3, 0.2, 0.4), shots=5),
    ]
    finding = finding_of("few-shot", records)
    assert finding.verdict == verdict and " top-1 with 1 shot a label: " in finding.text


def test_table2_is_told_by_its_mean_over_fractions():
    name = "top1_over_multimodal_concat_small"
    records = [
        *gain("table2", "multimodal_concat", name, (0.05, 0.04, 0.06), fraction=0.1, vocabulary=9),
        *gain("table2", "multimodal_concat", name, (0.01, -0.01, 0.03), vocabulary=9),
    ]
    finding = finding_of("table2", records)
    assert finding == (
        "none",
        "A larger vocabulary beside the picture makes no clear difference to top-1: +1.0 points (−1.0 to +3.0) on seen.",
    )


def test_the_oracle_is_told_and_decides_nothing():
    records = [
        *gain("knowledge", "oracle", "top1_over_visual_only", (0.4, 0.3, 0.5), fraction=0.1),
        *gain("knowledge", "multimodal_no_label_words", "top1_over_visual_only", (0.0, -0.1, 0.1)),
    ]
    finding = finding_of("knowledge", records)
    assert (
        finding.verdict == "none"
        and "(upper bound) raises top-1 with 10% of the labels: +40.0 points (+30.0 to +50.0)" in finding.text
    )


@pytest.mark.parametrize(
    "interval, p_value, verdict, text",
    [
        (
            (0.05, 0.04, 0.06),
            0.0001,
            "holds",
            r"Explanations hold: \+5\.0 points \(\+4\.0 to \+6\.0\) on seen \(p < 0\.001\)\. Points: ",
        ),
        ((-0.05, -0.06, -0.04), 0.02, "fails", r"Explanations do not hold: −5\.0 points .*\(p = 0\.02\)"),
        ((0.0, -0.01, 0.01), 0.8, "none", "Explanations are not shown to hold everywhere"),
    ],
)
def test_explanations_are_judged_on_other_heads(interval, p_value, verdict, text):
    name = "probability_fall_over_random"
    records = gain("deletion", "first", name, (0.5, 0.4, 0.6))
    assert finding_of("deletion", records) is None
    records += gain("deletion", "first_on_other_head", name, interval)
    records.append(
        Record(suite="deletion", method="first_on_other_head", metric="p_value", split="seen", value=p_value)
    )
    finding = finding_of("deletion", records)
    assert finding.verdict == verdict and re.match(text, finding.text)


@pytest.mark.parametrize(
    "suite, records, text",
    [
        (
            "table2",
            [
                *measured("table2", "text_only_curve", "top1", 0.2, 0.3, vocabulary=20),
                *measured("table2", "text_only_curve", "top1", 0.9, vocabulary=300),
                *measured("table2", "text_only_curve", "top1", 0.4, 0.6, vocabulary=5569),
            ],
            "Top-1 of phrases alone, from the 20 most searched phrases to all 5,569: 25.0 → 50.0% on seen.",
        ),
        (
            "zero-shot",
            measured("zero-shot", "zero_shot", "share_of_supervised", 0.7, 0.8),
            "Share of the supervised top-1 without labelled pictures: 75.0% on seen.",
        ),
        (
            "calibration",
            [
                *measured("calibration", "uncalibrated", "ece", 0.15),
                *measured("calibration", "calibrated", "ece", 0.02),
                *measured("calibration", "uncalibrated", "ece_by_chance", 0.03),
                *measured("calibration", "calibrated", "ece_by_chance", 0.04),
            ],
            "Calibration changes the expected calibration error: 15.0 → 2.0% on seen (4.0% by chance).",
        ),
        (
            "calibration",
            [
                *measured("c", "thresholds", "precision_at_threshold", 0.75, 0.85),
                *measured("c", "thresholds", "precision_at_threshold", 0.75, 0.77, split="all"),
            ],
            "Thresholds for 80% precision reach 80.0% on seen and 76.0% on all splits together.",
        ),
        (
            "multi-label",
            [
                *measured("m", "multimodal_long_tailed", "gain_count_spearman", -0.5, -0.25),
                *measured("m", None, "trainable_labels", 12),
                *measured("m", None, "trainable_positives", 20),
            ],
            "Rank correlation of a label's gain with its count in the long-tailed training set: −0.38 on seen (below 0: "
            "rare labels gain more). mAP covers 12 labels, each with at least 20 pictures in train.",
        ),
        (
            "open-vocabulary",
            [
                *measured("o", "phrase_generator", "hit@1", 0.5),
                *measured("o", "phrase_generator", "hit@10", 0.7),
                *measured("o", "shuffled_phrases", "hit@10", 0.1),
            ],
            "The first phrase is right for 50.0% of seen, one of the first 10 for 70.0%. Right: a query of the "
            "picture, or of its label where the picture has no queries.",
        ),
        (
            "text-encoder",
            [
                *measured("t", "average", "recall@10", 0.5, split="held_out"),
                *measured("t", "bag_of_ngrams", "recall@10", 0.625, split="held_out"),
            ],
            "Recall@10 of the associated query: bag of ngrams 62.5%, average 50.0%.",
        ),
    ],
)
def test_what_is_measured_alone_is_told(suite, records, text):
    assert finding_of(suite, records) == ("told", text)


def test_an_unknown_suite_has_no_line():
    assert finding_of("other", measured("other", "a", "top1", 0.5)) is None


def test_a_difference_without_ends_is_left_out():
    records = gain("s", "a", "top1_over_b", (0.1, 0.0, 0.2))
    assert len(intervals(records, "a", "top1_over_b")) == 1 and not intervals(records[:2], "a", "top1_over_b")
    assert compared("context", []) == ""
