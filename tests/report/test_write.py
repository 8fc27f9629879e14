import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from ctxvision.errors import InputError
from ctxvision.metrics.records import Record, save_records
from ctxvision.report.findings import opening
from ctxvision.report.svg import Series, line_chart
from ctxvision.report.write import write_report
from tests.axe import axe_core, violations
from tests.report.test_suite_findings import gain, measured
from tests.serving.devserver.browser import Browser

DOT = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def table1(**methods):
    """Records of top-1 on split "test" at 10%; each method has one percentage per seed."""
    return [
        Record(
            suite="table1",
            method=method,
            fraction=0.1,
            seed=seed,
            split="test",
            metric="top1",
            value=value / 100,
        )
        for method, values in methods.items()
        for seed, value in enumerate(values)
    ]


def example(kind, label="cat", other="dog", phrase="a kitten"):
    wrong, right = {"label": other, "score": 0.4}, {"label": label, "score": 0.6}
    visual, multimodal = {
        "win": (wrong, right),
        "loss": (right, wrong),
        "both_right": (right, right),
        "both_wrong": (wrong, wrong),
    }[kind]
    return {
        "image": DOT,
        "truth": label,
        "split": "test",
        "visual_only": visual,
        "multimodal": multimodal,
        "visual_share": 0.21,
        "query_share": 0.03,
        "phrases": [{"phrase": phrase, "score": 0.75, "share": -0.125}],
        "kind": kind,
    }


@pytest.fixture
def run(tmp_path):
    """A run with easy numbers: visual 20, 22, 24 and multimodal 30, 33, 33 by seed."""
    records = table1(visual_only=(20, 22, 24), multimodal=(30, 33, 33), shuffled_phrases=(19, 21, 23))
    hits = [
        Record(suite="phrases", method="phrase_generator", split="test", seed=0, metric=metric, value=value)
        for metric, value in (("hit@1", 0.531), ("hit@3", 0.62))
    ]
    save_records(tmp_path / "metrics.json", records + hits)
    (tmp_path / "config.json").write_text(
        json.dumps(
            {"data": {"name": "pets"}, "head": {"dropout": 0.35}, "versions": {"tensorflow": "2.20.0"}}
        )
    )
    write_json(tmp_path / "evaluation" / "examples.json", [example("win"), example("win"), example("loss")])
    write_json(
        tmp_path / "logs" / "history.json", {"visual": {"loss": [3.0, 2.0, 1.0], "val_top1": [0.1, 0.2, 0.3]}}
    )
    write_json(
        tmp_path / "logs" / "times.json",
        [{"part": "context", "seconds": 1200.4}, {"part": "9 <labels>", "seconds": 3.0}],
    )
    return tmp_path


def write_json(path, value):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value))


def report(run):
    return write_report(run).read_text(encoding="utf-8")


def words(html):
    """The text of the page, white space collapsed."""
    return " ".join(re.sub(r"<(style|title)\b.*?</\1>|<[^>]*>", " ", html, flags=re.DOTALL).split())


class Tags(HTMLParser):
    """Collects attributes, and asserts that every element is closed in order."""

    def __init__(self, html):
        super().__init__()
        self.open, self.attributes = [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, *attr) for attr in attrs]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes += [(tag, *attr) for attr in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_table_holds_mean_and_deviation(run):
    html = report(run)
    # visual 20, 22, 24: mean 22, deviation 2; multimodal 30, 33, 33: mean 32, deviation sqrt((4 + 1 + 1) / 2)
    row = re.search(r'<th scope="row">top-1, 10%</th>(.*?)</tr>', html, re.DOTALL).group(1)
    cells = [words(cell) for cell in re.findall(r"<td.*?</td>", row, re.DOTALL)]
    assert cells == ["22.0 ± 2.0", "★ 32.0 ± 1.7", "21.0 ± 2.0", "+45.5%"]  # 32 / 22 = 1.4545
    assert "over 3 seeds" in html


def test_phrases_found_settings_versions_and_curves_are_there(run):
    text = words(report(run))
    assert "split hit@1 hit@3 test 53.1 62.0" in text
    assert "head.dropout 0.35" in text and "tensorflow 2.20.0" in text
    assert "visual : loss" in text and "visual : top1" in text


def test_two_fractions_draw_a_chart_and_what_was_not_measured_is_a_dash(run):
    assert 'class="charts"' not in report(run)
    measured = {("visual_only", 0.1): 0.2, ("visual_only", 1.0): 0.4, ("text_only", 0.1): 0.3}
    save_records(
        run / "metrics.json",
        [
            Record(
                suite="table1",
                method=method,
                fraction=fraction,
                seed=0,
                split="seen",
                metric="top1",
                value=value,
            )
            for (method, fraction), value in measured.items()
        ],
    )
    html = report(run)
    charts = html.split('class="charts"')[1].split("</div>")[0]
    assert re.findall(r'class="name"[^>]*>([^<]*)<', charts) == ["visual only", "text only"]
    assert re.findall(r'<text [^>]*middle">([^<]*)<', charts) == ["10%", "100%"]
    assert "top-1, 100% 40.0 – –" in words(html) and "in %, one seed" in words(html)


def test_the_page_is_well_formed_and_loads_nothing(run):
    page = Tags(report(run))
    assert page.open == []
    sources = [value for _, name, value in page.attributes if name in ("src", "href", "srcset", "data")]
    assert sources == [DOT] * 3
    assert "url(" not in report(run) and "@import" not in report(run) and "<script" not in report(run)
    assert all(value for tag, name, value in page.attributes if (tag, name) == ("img", "alt"))


def test_wins_and_losses_both_show_with_counts_and_words(run):
    counted = [("win", "seen", 0.125), ("win", "new", 0.25), ("loss", "seen", 0.0625)]
    answers = [
        Record(suite="answers", metric=kind, split=split, value=value) for kind, split, value in counted
    ]
    save_records(run / "metrics.json", answers)
    text = words(report(run))
    assert "Wins: 12.5% of seen, 25% of new, 2 shown" in text and "Losses: 6.25% of seen, 1 shown" in text
    wins, losses = text.split("Losses: 6.25%")
    assert wins.count("visual only dog ✗ wrong , 40% multimodal cat ✓ right , 60%") == 2
    assert losses.count("visual only cat ✓ right , 60% multimodal dog ✗ wrong , 40%") == 1
    assert "a kitten 0.75 −12.5" in losses


def test_no_losses_is_said_and_the_other_kinds_are_folded(run):
    write_json(run / "evaluation" / "examples.json", [example("both_right"), example("both_wrong")])
    text = words(report(run))
    assert "Losses: 0 shown" in text
    assert "Both right: 1 shown" in text and "Both wrong: 1 shown" in text


def test_what_came_in_is_escaped(run):
    attack = "<script>alert('\"')</script>"
    write_json(
        run / "evaluation" / "examples.json",
        [example("win", label=attack, other=attack + "2", phrase=attack)],
    )
    write_json(run / "config.json", {"data": {"name": attack}, attack: attack, "versions": {attack: attack}})
    write_json(run / "logs" / "history.json", {attack: {attack: [1.0]}})
    save_records(
        run / "metrics.json",
        [
            Record(
                suite=suite, method=method, fraction=fraction, seed=0, split=attack, metric=attack, value=0.5
            )
            for suite in ("table1", "phrases")
            for method in ("visual_only", "multimodal", attack)
            for fraction in (0.1, 1.0)
        ],
    )
    html = report(run)
    assert "<script" not in html and "&lt;script&gt;" in html
    assert Tags(html).open == []


@pytest.mark.parametrize(
    "multimodal, headline",
    [
        # differences per seed 10, 11, 9: mean 10, deviation 1
        (
            (30, 33, 33),
            "Context raises top-1 with 10% of the labels: +10.0 ± 1.0 points on test (22.0 → 32.0%).",
        ),
        (
            (10, 11, 15),
            "Context lowers top-1 with 10% of the labels: −10.0 ± 1.0 points on test (22.0 → 12.0%).",
        ),
        # 0.5 in each seed: no spread, but below one point
        (
            (20.5, 22.5, 24.5),
            "Context makes no clear difference to top-1 with 10% of the labels: +0.5 ± 0.0 points on test "
            "(22.0 → 22.5%).",
        ),
        # 0, 3, 3: mean 2, deviation 1.7, and 2 < 2 x 1.7
        (
            (20, 25, 27),
            "Context makes no clear difference to top-1 with 10% of the labels: +2.0 ± 1.7 points on test "
            "(22.0 → 24.0%).",
        ),
    ],
)
def test_the_opening_says_no_more_than_the_numbers(multimodal, headline):
    records = table1(visual_only=(20, 22, 24), multimodal=multimodal)
    assert opening(records)[0] == headline


def test_the_opening_names_the_control_and_the_other_fractions(run):
    records = table1(visual_only=(20, 22, 24), multimodal=(30, 33, 33), shuffled_phrases=(19, 21, 23))
    more = [
        Record(
            suite="table1", method=method, fraction=1.0, seed=seed, split="test", metric="top1", value=value
        )
        for method, value in (("visual_only", 0.5), ("multimodal", 0.502))
        for seed in range(3)
    ]
    first, *rest = opening(records + more)
    assert rest == [
        "Control: phrases of another picture (shuffled) change top-1 by −1.0 ± 0.0 points on test.",
        "Context makes no clear difference to top-1 with 100% of the labels: +0.2 ± 0.0 points on test.",
    ]
    assert first in words(report(run))


def test_a_control_that_gains_is_told():
    records = table1(visual_only=(20, 22, 24), multimodal=(30, 33, 33), shuffled_phrases=(25, 27, 29))
    assert "That part of the gain does not come from the meaning of the phrases." in opening(records)


def test_phrases_that_are_better_without_the_picture_are_told():
    records = table1(visual_only=(20, 22, 24), multimodal=(30, 33, 33), text_only=(35, 38, 38))
    told = "Phrases alone (text only) beat picture and phrases together: +5.0 ± 0.0 points on test."
    assert told in opening(records)


def test_one_seed_has_no_spread():
    first, *rest = opening(table1(visual_only=(20,), multimodal=(30,)))
    assert first == "Context raises top-1 with 10% of the labels: +10.0 points on test (20.0 → 30.0%)."
    assert rest == ["One seed only: the spread is unknown."]


def test_seeds_are_paired_and_those_of_one_method_alone_left_out():
    records = table1(visual_only=(20, 40), multimodal=(30, 50, 90))
    assert ": +10.0 ± 0.0 points on test (30.0 → 40.0%)." in opening(records)[0]


def test_a_run_without_table1_examples_or_curves_still_has_a_report(run):
    (run / "evaluation" / "examples.json").unlink()
    (run / "logs" / "history.json").unlink()
    (run / "metrics.json").unlink()
    save_records(run / "metrics.json", [Record(suite="phrases", split="test", metric="hit@1", value=0.5)])
    text = words(report(run))
    assert "no accuracies of visual_only and multimodal to compare" in text
    assert "Training curves" not in text and "Wins" not in text and "Accuracy (Table 1)" not in text


@pytest.mark.parametrize(
    "file, text, message",
    [
        ("metrics.json", None, "must hold metrics.json, got none: run ctxvision evaluate "),
        ("metrics.json", "[", "metrics.json must be JSON and is damaged"),
        (
            "config.json",
            None,
            "must hold config.json, got none: give the folder of a run",
        ),
        ("config.json", "[]", "config.json must hold a JSON object, got list"),
        ("logs/history.json", "{", "history.json must be JSON and is damaged"),
        ("evaluation/examples.json", "{}", "examples.json must hold a JSON list, got dict"),
        ("evaluation/examples.json", '[{"image": ""}]', "got example 0 without truth, split"),
        (
            "evaluation/examples.json",
            json.dumps([{**example("win"), "image": "http://example.org/a.png"}]),
            "must hold pictures as base64 data URIs, got 'http://example.org/a.png' in example 0",
        ),
        (
            "evaluation/examples.json",
            json.dumps([{**example("win"), "kind": "draw"}]),
            "must hold examples of the kinds win, loss, both_right, both_wrong, got 'draw'",
        ),
    ],
)
def test_missing_and_damaged_files_are_named(run, file, text, message):
    (run / file).unlink() if text is None else (run / file).write_text(text)
    with pytest.raises(InputError, match=message):
        write_report(run)
    assert not (run / "report.html").exists()


def test_several_labels_a_picture_lead_where_there_is_no_table1(run):
    (run / "metrics.json").unlink()
    ends = zip(("", "_low", "_high"), (0.1, 0.05, 0.15))
    save_records(
        run / "metrics.json",
        [
            Record(
                suite="multi-label",
                method="multimodal",
                split="test",
                metric=f"map_over_visual_only{end}",
                value=value,
            )
            for end, value in ends
        ],
    )
    lead = re.search(r'<p class="lead">(.*?)</p>', report(run), re.DOTALL).group(1)
    assert words(lead) == "▲ gain Context raises mAP: +10.0 points (+5.0 to +15.0) on test."


def test_what_training_found_on_val_is_shown(run):
    assert "On val" not in report(run)
    write_json(
        run / "visual_only" / "check.json", {"sentence": "On val, context costs accuracy: <b>; `a & b`."}
    )
    assert "On val, context costs accuracy: &lt;b&gt;; <code>a &amp; b</code>." in report(run)


def test_a_chart_places_points_and_keeps_labels_apart():
    lines = [Series("one", [(0.1, 10.0), (1.0, 20.0)], 0), Series("two", [(0.1, 0.0), (1.0, 20.0)], 1)]
    first, second = line_chart(lines, "t", [(0.1, "10%"), (1.0, "100%")], log_x=True).lines
    assert first.points[0][0] == second.points[0][0] and first.points[1] == second.points[1]
    heights = [second.points[0][1], first.points[0][1], first.points[1][1]]  # of 0, 10, 20
    assert heights[0] - heights[1] == pytest.approx(heights[1] - heights[2])
    assert abs(first.name_place - second.name_place) >= 14
    assert not first.dashes and second.dashes


def test_whiskers_stay_inside_the_chart():
    lines = [Series("one", [(1, 10.0), (2, 11.0)], 0, [6.0, 0.5]), Series("two", [(1, 12.0)], 1, [9.0])]
    chart = line_chart(lines, "t", [(1, "1"), (2, "2")], height=270)
    ends = [y for line in chart.lines for _, *ends in line.whiskers for y in ends]
    assert len(ends) == 6 and min(ends) >= 12 and max(ends) <= 244


def test_the_axis_of_one_value_does_not_go_beyond_it():
    chart = line_chart([Series("a", [(0.1, 100.0), (1.0, 100.0)], 0)], "t", [(0.1, "10%"), (1.0, "100%")])
    assert [tick.text for tick in chart.y_ticks] == ["50", "100"]


def test_ticks_that_would_touch_the_next_are_left_out():
    xs = [0.1, 0.3, 0.5, 0.7, 1.0]
    series = [Series("a long name of it", [(x, x) for x in xs], 0)]
    chart = line_chart(series, "t", [(x, f"{x:.0%}") for x in xs], log_x=True)
    assert [tick.text for tick in chart.x_ticks] == ["10%", "30%", "50%", "100%"]


@pytest.mark.parametrize("values", [[0.0], [5.0, 5.0], [1e-9, 2e-9], [-3.0, 1e6]])
def test_a_chart_takes_any_range(values):
    chart = line_chart([Series("a", list(enumerate(values, 1)), 0)], "t", [(1, "1")])
    numbers = [*chart.lines[0].points, *((tick.place, 0.0) for tick in chart.y_ticks)]
    assert np.isfinite(numbers).all()


@pytest.mark.slow
def test_the_page_breaks_no_rule_of_axe_core(run, tmp_path_factory):
    axe_core()
    records = [
        *measured("few-shot", "linear_probe", "top1", 0.1, shots=1),
        *measured("few-shot", "linear_probe", "top1", 0.3, shots=5),
        *measured("few-shot", "multimodal_pool", "top1", 0.2, shots=1),
        *measured("few-shot", "multimodal_pool", "top1", 0.4, shots=5),
        *gain("few-shot", "multimodal_pool", "top1_over_linear_probe", (0.1, 0.05, 0.15), shots=1),
        *gain("bottleneck", "visual_text_bottleneck", "top1_over_visual_bottleneck", (-0.1, -0.2, -0.05)),
        *measured("multi-label", "multimodal", "ap/cat", 0.5),
    ]
    save_records(run / "metrics.json", records)
    url = write_report(run).as_uri()
    browser = Browser(tmp_path_factory.mktemp("profile"))
    try:
        for width in (1280, 390):
            for dark in (False, True):
                browser.open(url, width, dark=dark)
                assert violations(browser) == []
                assert browser.run("document.documentElement.scrollWidth") <= width, (
                    "the page is wider than the screen"
                )
        # A4 between its margins: 718 pixels. A reader in dark mode prints on white paper.
        browser.open(url, 718, dark=True)
        scheme = {"name": "prefers-color-scheme", "value": "dark"}
        browser.call("Emulation.setEmulatedMedia", media="print", features=[scheme])
        assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert (
            browser.run("Math.max(...[...document.querySelectorAll('table')].map(t => t.scrollWidth))") <= 718
        )
    finally:
        browser.close()
