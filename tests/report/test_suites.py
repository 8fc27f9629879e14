"""The section of a suite: tables, charts, differences."""

import re

from ctxvision._templates import render
from ctxvision.evaluation import SUITES
from ctxvision.metrics.records import Record
from ctxvision.report import suites
from ctxvision.report.suites import ABOUT, suites_of
from tests.report.test_suite_findings import gain, measured
from tests.report.test_write import Tags, words


def section(suite, records):
    return render("ctxvision.report", "section.html.j2", section=suites.section(suite, records))


def names_of_charts(html):
    charts = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    return [re.findall(r'class="name"[^>]*>([^<]*)<', chart) for chart in charts]


def test_sections_are_in_the_order_in_which_the_suites_run():
    assert tuple(SUITES) == tuple(ABOUT)


def test_suites_come_in_their_order_and_unknown_ones_last():
    there = ("other", "answers", "knowledge", "phrases", "table1")
    records = [Record(suite=suite, metric="top1", value=0.5) for suite in there]
    assert suites_of(records) == ["table1", "knowledge", "other"]


def test_methods_without_an_axis_are_rows_and_metrics_columns():
    records = [
        *measured("bottleneck", "visual_text", "top1", 0.3, 0.5, fraction=0.2),
        *measured("bottleneck", "visual_bottleneck", "top1", 0.2, 0.2, fraction=0.2),
        *measured("bottleneck", "visual_text", "top5", 0.6, 0.6, fraction=0.2),
        *measured("bottleneck", "visual_bottleneck", "top5", 0.7, 0.7, fraction=0.2),
    ]
    html = section("bottleneck", records)
    assert "method top-1 top-5" in words(html)
    assert "visual + 64-d 20.0 ± 0.0 ★ 70.0 ± 0.0 visual + text ★ 40.0 ± 14.1 60.0 ± 0.0" in words(html)
    assert "<svg" not in html and Tags(html).open == []


def test_shots_are_rows_and_a_chart():
    records = [
        one
        for shots in (1, 5)
        for method, value in (("linear_probe", 0.1), ("multimodal_linear_probe", 0.2))
        for one in measured("few-shot", method, "top1", value * shots, shots=shots)
    ]
    records += gain(
        "few-shot", "multimodal_linear_probe", "top1_over_linear_probe", (0.1, 0.05, 0.15), shots=1
    )
    html = section("few-shot", records)
    assert "top-1, 1 shot 10.0 ★ 20.0 top-1, 5 shots 50.0 ★ 100.0" in words(html)
    assert names_of_charts(html) == [["linear probe", "multimodal probe"]]
    assert "top-1: multimodal probe over linear probe, 1 shot +10.0 (+5.0 to +15.0)" in words(html)


def test_a_curve_over_the_vocabulary_is_a_chart_with_its_values_folded():
    records = [
        one
        for number in (10, 100, 1000)
        for one in measured("table2", "text_only_curve", "top1", number / 2000, vocabulary=number)
    ]
    html = section("table2", records)
    assert names_of_charts(html) == [["text only"]]
    assert "top-1, 1,000 phrases 50.0" in words(html.split("<details>")[1])


def test_a_smaller_calibration_error_is_the_better_one_and_reliability_has_its_diagonal():
    records = [
        *measured("calibration", "uncalibrated", "ece", 0.2),
        *measured("calibration", "calibrated", "ece", 0.1),
        *measured("calibration", "uncalibrated", "ece_by_chance", 0.03),
        *measured("calibration", "calibrated", "ece_by_chance", 0.04),
    ]
    for number, share in ((0, 0.5), (1, 0.5), (2, 0.0)):
        for name, value in (("confidence", 0.3 * number), ("accuracy", 0.4 * number), ("share", share)):
            records += measured("calibration", "calibrated", f"bin{number:02}_{name}", value)
    html = section("calibration", records)
    assert "uncalibrated 20.0 3.0 calibrated ★ 10.0 4.0" in words(html) and "bin00" not in html
    assert names_of_charts(html) == [["perfect", "calibrated"]]
    line = re.findall(r'class="s0"><polyline points="([^"]*)"', html)[0]
    assert len(line.split()) == 2  # the empty bin has no point


def test_metrics_by_number_are_a_curve_and_by_label_a_folded_table():
    records = []
    for method, value in (("visual_only", 0.5), ("multimodal", 0.75)):
        records += measured("multi-label", method, "map", value)
        records += measured("multi-label", method, "ap/7 <up>", value)
        for recall in ("0.05", "0.5"):
            records += measured("multi-label", method, f"precision_at_recall/{recall}", value)
    records += [
        Record(
            suite="multi-label", method="multimodal", metric="gain_count_spearman", split="seen", value=-0.25
        )
    ]
    html = section("multi-label", records)
    assert names_of_charts(html) == [["visual only", "multimodal"]]
    assert "7 &lt;up&gt;" in html.split("In parts")[1] and "<up>" not in html
    assert "−0.25" in words(html.split('class="charts"')[0])
    assert Tags(html).open == []


def test_parts_are_shown_at_the_smallest_fraction_alone():
    records = [
        one
        for fraction, value in ((1.0, 0.9), (0.1, 0.2))
        for metric in ("ap/cat", "precision_at_recall/0.1", "precision_at_recall/0.9")
        for one in measured("multi-label", "multimodal", metric, value, fraction=fraction)
    ]
    html = section("multi-label", records)
    assert "ap in %, with 10% of the labels of multimodal cat 20.0" in words(html)
    heights = re.findall(r'points="[\d.]+,([\d.]+) [\d.]+,([\d.]+)"', html)
    assert len(heights) == 1 and heights[0][0] == heights[0][1]


def test_parts_of_several_metrics_are_a_table_each():
    records = [
        one
        for metric, value in (("hit@1/count_1-4", 0.25), ("hit@1/count_5+", 0.5), ("hit@3/count_1-4", 0.75))
        for one in measured("open-vocabulary", "phrase_generator", metric, value)
    ]
    text = words(section("open-vocabulary", records))
    assert "hit@1 in % of phrase generator count 1-4 25.0 count 5+ 50.0" in text
    assert "hit@3 in % of phrase generator count 1-4 75.0" in text


def test_what_belongs_to_no_split_is_a_table_of_plain_numbers():
    records = [Record(suite="fusion", method="mlb", metric="parameters", value=123456)]
    assert "all method parameters MLB 123,456" in words(section("fusion", records))
