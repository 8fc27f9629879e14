"""The README's Python is executed, and its table is the committed one."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny_data import tiny_settings

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_python_blocks_run(tiny_run, tiny_data, tmp_path):
    """In a process of their own, as a reader's: memory that is asked for counts what the process holds already."""
    shutil.copytree(tiny_data, tmp_path / "photos")
    shutil.copytree(tiny_run.directory, tmp_path / "runs" / "photos")
    (tmp_path / "settings.json").write_text(json.dumps(tiny_settings(tiny_data)))
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(blocks) == 5
    blocks[3] += "print(probabilities.shape, found.ids.shape)\n"
    blocks[4] += "print(found.ids.shape, table.ids(['blue boat']), len(table))\n"
    (tmp_path / "readme.py").write_text("".join(blocks), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "readme.py"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "label" in done.stdout and re.search(r"[+-]0\.\d{3}  \w+", done.stdout)
    assert done.stdout.splitlines()[-2:] == ["(5, 10) (5, 2)", "(5, 1) [2] 3"]
    assert (tmp_path / "serving" / "finetuned" / "1" / "saved_model.pb").is_file()


def test_the_figures_of_a_strong_visual_embedding_are_the_measured_ones():
    said = " ".join(README.split())
    for name in ("visual", "both"):
        results = ROOT / "tools" / "benchmarks" / "results" / f"table1-photos-strong-{name}.json"
        rows = json.loads(results.read_text(encoding="utf-8"))["rows"]
        told = {
            row["method"]: f"{100 * row['mean']:.1f} ± {100 * row['deviation']:.1f}"
            for row in rows
            if row["suite"] == "table1" and row["metric"] == "top1"
        }
        assert f"{told['visual_only']} → {told['multimodal']} ({told['shuffled_phrases']}" in said


def test_commands_exist():
    from ctxvision.cli.main import _parser

    for line in re.findall(r"^\$ ctxvision (.*?)(?:  +#.*| &.*)?$", README, flags=re.MULTILINE):
        _parser().parse_args(shlex.split(line))


def test_the_figures_of_concepts_are_the_measured_ones():
    results = ROOT / "tools" / "benchmarks" / "results" / "concepts-emoji.json"
    found = json.loads(results.read_text(encoding="utf-8"))
    recall = f"{100 * found['recall_mean']:.0f} ± {100 * found['recall_deviation']:.0f}%"
    change = f"{100 * found['others_change_mean']:+.1f} ± {100 * found['others_change_deviation']:.1f} points"
    assert f"the demo's {found['labels']} labels with {found['shots']} pictures" in README
    assert recall in README and change.replace("-", "−") in README


def test_the_few_shot_figures_are_the_measured_ones():
    results = ROOT / "tools" / "benchmarks" / "results" / "few_shot.json"
    for row in json.loads(results.read_text(encoding="utf-8"))["rows"]:
        if row["method"] == "multimodal_pool" and row["shots"] in (1, 5):
            assert f"{100 * row['mean']:.1f} ± {100 * row['deviation']:.1f}" in README


def test_the_figures_of_the_demo_dealt_anew_are_the_measured_ones():
    results = ROOT / "tools" / "benchmarks" / "results" / "demo_seeds.json"
    rows = json.loads(results.read_text(encoding="utf-8"))["rows"]
    said = " ".join(README.split())
    found = {
        tuple(row[key] for key in ("suite", "split", "fraction", "method", "metric")): row for row in rows
    }

    def told(*key):
        return f"{100 * found[key]['mean']:.1f} ± {100 * found[key]['deviation']:.1f}"

    for split in ("seen", "unseen"):
        for fraction in (0.1, 0.3, 1.0):
            before, after = (
                told("table1", split, fraction, method, "top1") for method in ("visual_only", "multimodal")
            )
            assert f"{before} → {after}" in said
    before, after, seen, unseen = (
        told("calibration", split, 1.0, method, "ece")
        for split, method in (
            ("all", "uncalibrated"),
            ("all", "calibrated"),
            ("seen", "calibrated"),
            ("unseen", "calibrated"),
        )
    )
    chance = told("calibration", "all", 1.0, "calibrated", "ece_by_chance")
    assert f"(by chance, from so few pictures, {chance})" in said
    assert f"from {before} to {after}%" in said and f"it is {seen} and {unseen}%" in said
    reached = ("calibration", "all", 1.0, "thresholds", "precision_at_threshold")
    one, two, three = (f"{100 * value:.1f}" for value in found[reached]["values"])
    assert f"{told(*reached)}%: {one}, {two} and {three}." in said


def test_the_demos_table_is_the_measured_one():
    results = ROOT / "tools" / "benchmarks" / "results" / "table1-emoji.json"
    rows = json.loads(results.read_text(encoding="utf-8"))["rows"]
    measured = {
        (
            row["split"],
            row["fraction"],
            row["method"],
        ): f"{100 * row['mean']:.1f} ± {100 * row['deviation']:.1f}"
        for row in rows
        if row["suite"] == "table1" and row["metric"] == "top1"
    }
    methods = (
        "visual_only",
        "multimodal",
        "text_only",
        "multimodal_concat",
        "visual_web",
        "shuffled_phrases",
    )
    for split in ("seen", "unseen"):
        for fraction in (0.1, 0.3, 1.0):
            cells = [measured[split, fraction, method] for method in methods]
            assert f"| {split} | {fraction:.0%} | {' | '.join(cells)} |" in README


@pytest.mark.parametrize("name", ["photos", "photos-other-labels"])
def test_the_figures_of_the_photographs_are_the_measured_ones(name):
    results = ROOT / "tools" / "benchmarks" / "results" / f"table1-{name}.json"
    rows = json.loads(results.read_text(encoding="utf-8"))["rows"]
    told = {
        (row["fraction"], row["method"]): f"{100 * row['mean']:.1f} ± {100 * row['deviation']:.1f}"
        for row in rows
        if row["suite"] == "table1" and row["metric"] == "top1"
    }
    said = " ".join(README.split())
    for fraction in (0.1, 0.3, 1.0):
        assert f"{told[fraction, 'visual_only']} → {told[fraction, 'multimodal']}" in said
    assert ", ".join(told[fraction, "visual_web"] for fraction in (0.1, 0.3, 1.0)) in said


def test_the_figures_of_the_larger_vocabulary_are_the_measured_ones():
    results = ROOT / "tools" / "benchmarks" / "results" / "table2-emoji.json"
    rows = json.loads(results.read_text(encoding="utf-8"))["rows"]
    mean = {tuple(row[key] for key in ("method", "split", "fraction", "metric")): row["mean"] for row in rows}
    said = " ".join(README.split())
    for method in ("text_only", "multimodal_concat"):
        for split in ("seen", "unseen"):
            gain, low, high = (
                100 * mean[method, split, None, f"top1_over_{method}_small{end}"]
                for end in ("", "_low", "_high")
            )
            assert f"{gain:+.1f} ({low:.1f} to {high:.1f})".replace("-", "−") in said


def test_the_times_are_those_measured():
    results = ROOT / "tools" / "benchmarks" / "results" / "taxonomies-emoji.json"
    for row in json.loads(results.read_text(encoding="utf-8"))["times"]:
        assert f"| {row['part']} | {row['seconds']:.0f} |" in README
