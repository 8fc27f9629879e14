"""The Beam pipeline gives the answers of `ctxvision predict`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import tf_keras as keras  # noqa: F401  (must be bound before tf.keras is used)

from ctxvision.serving import export_saved_model, predict_to_file
from tests.tiny_model import tiny_classifier

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_same_answers(tiny_data, tmp_path):
    export_saved_model(tiny_classifier(), tmp_path / "serving" / "1")
    folder = tmp_path / "pictures"
    folder.mkdir()
    for path in sorted((tiny_data / "images").glob("test-*.png")):
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "broken.png").write_bytes(b"no picture")
    command = [sys.executable, ROOT / "tools" / "beam_predict.py", tmp_path / "serving", f"{folder}/**"]
    done = subprocess.run(
        [*map(str, command), "--out", str(tmp_path / "answers"), "--runner", "DirectRunner"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = [line for shard in tmp_path.glob("answers-*.jsonl") for line in shard.read_text().splitlines()]
    found = {row["path"]: row for row in map(json.loads, lines)}
    predict_to_file(tmp_path / "serving", folder, tmp_path / "expected.jsonl")
    expected = [json.loads(line) for line in (tmp_path / "expected.jsonl").read_text().splitlines()]
    assert len(found) == len(lines) == len(expected) == 49
    for row in expected:
        told = found[row["path"]]
        assert told.keys() == row.keys() and told.get("label") == row.get("label")
        assert told.get("error") == row.get("error")
        assert told.get("score", 0) == pytest.approx(row.get("score", 0), abs=1e-5)


@pytest.mark.slow
def test_a_folder_without_a_model(tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            ROOT / "tools" / "beam_predict.py",
            str(tmp_path),
            "x",
            "--out",
            str(tmp_path / "a"),
        ],
        capture_output=True,
        text=True,
    )
    assert (
        done.returncode == 2
        and "directory must hold an export as DIR/<version>/saved_model.pb" in done.stderr
    )
