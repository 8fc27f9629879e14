"""The README's Python is executed, and its table is the committed one."""

import json
import re
import shutil
from pathlib import Path

from tests.tiny_data import SETTINGS

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_python_blocks_run(tiny_run, tiny_data, tmp_path, monkeypatch, capsys):
    shutil.copytree(tiny_data, tmp_path / "photos")
    shutil.copytree(tiny_run.directory, tmp_path / "runs" / "photos")
    (tmp_path / "settings.json").write_text(json.dumps(SETTINGS))
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(blocks) == 4
    names: dict = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    out = capsys.readouterr().out
    assert "label" in out and re.search(r"[+-]0\.\d{3}  \w+", out)
    assert (tmp_path / "serving" / "finetuned" / "1" / "saved_model.pb").is_file()
    assert names["probabilities"].shape == (5, 10) and names["found"].ids.shape == (5, 2)


def test_commands_exist():
    from ctxvision.cli import _parser

    for line in re.findall(r"^\$ ctxvision (.*?)(?:  +#.*| &.*)?$", README, flags=re.MULTILINE):
        _parser().parse_args(line.split())


def test_the_demos_table_is_the_measured_one():
    results = Path(__file__).parents[1] / "tools" / "benchmarks" / "results" / "table1-emoji.json"
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
    methods = ("visual_only", "multimodal", "text_only", "shuffled_phrases")
    for split in ("seen", "unseen"):
        for fraction in (0.1, 0.3, 1.0):
            cells = [measured[split, fraction, method] for method in methods]
            assert f"| {split} | {fraction:.0%} | {' | '.join(cells)} |" in README
