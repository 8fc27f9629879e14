"""Every verb, as a person types it; exit status and sentences."""

import json
import shutil
import subprocess
import sys

import pytest

from ctxvision.cli import main
from tests.tiny_data import SETTINGS, write_tiny_data


def test_train_on_a_finished_run_prints_where_things_are(tiny_data, tiny_run, tmp_path, capsys):
    (tmp_path / "config.json").write_text(json.dumps(SETTINGS))
    arguments = ["train", "--data", str(tiny_data), "--out", str(tiny_run.directory)]
    assert main([*arguments, "--config", str(tmp_path / "config.json")]) == 0
    out = capsys.readouterr().out
    assert str(tiny_run.directory / "report.html") in out and str(tiny_run.directory / "export") in out


def test_report_export_and_predict(tiny_run, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(tiny_run.directory, run)
    (run / "report.html").unlink()
    assert main(["report", str(run)]) == 0
    assert (run / "report.html").is_file()

    assert main(["export", str(run), "--to", str(tmp_path / "serving")]) == 0
    assert main(["export", str(run), "--to", str(tmp_path / "serving")]) == 0
    assert sorted(path.name for path in (tmp_path / "serving").iterdir()) == ["1", "2"]
    capsys.readouterr()

    picture = tiny_run.data.split("test:easy").paths[0]
    assert main(["predict", str(tmp_path / "serving"), picture, "--explain", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["label"] == "red label" and len(answer["phrases"]) >= 3
    assert main(["predict", str(tmp_path / "serving"), picture]) == 0
    assert "red label" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["train", "--data", "/nowhere", "--out", "OUT"], "data must name a folder with an images.csv"),
        (["train", "--data", "DATA", "--out", "OUT", "--label-column", "colour"], "colour"),
        (["train", "--data", "DATA", "--out", "OUT", "--config", "/nowhere.json"], "config must be a file"),
        (["evaluate", "/nowhere"], "run must be a folder made by training"),
        (["evaluate", "RUN", "--suite", "table9"], "suite must be one of table1, all, got 'table9'"),
        (["report", "/nowhere"], "run must be a folder made by training"),
        (["export", "/nowhere", "--to", "OUT"], "run must be a folder made by training"),
        (["predict", "/nowhere", "picture.png"], "/nowhere"),
        (["predict", "EXPORT", "/nowhere.png"], "/nowhere.png"),
        (["predict", "EXPORT", "TEXT"], "labels.json"),
        (["serve", "/nowhere"], "/nowhere"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(arguments, sentence, tiny_run, tiny_data, tmp_path, capsys):
    places = {
        "OUT": tmp_path / "out",
        "DATA": tiny_data,
        "RUN": tiny_run.directory,
        "EXPORT": tiny_run.directory / "export",
        "TEXT": tiny_data / "labels.json",
    }
    assert main([str(places.get(word, word)) for word in arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("ctxvision: ") and error.count("\n") == 1 and sentence in error
    assert not (tmp_path / "out").exists()


def test_wrong_usage_is_status_2():
    for arguments in ([], ["dance"], ["train"], ["export", "run", "--to", "x", "--retrieval", "ivvf"]):
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert stopped.value.code == 2


def test_version_and_help_are_quick_and_quiet():
    command = [sys.executable, "-X", "importtime", "-m", "ctxvision.cli", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "0.1.0\n"
    assert "tensorflow" not in done.stderr


def test_the_demo_on_a_few_labels(tmp_path, monkeypatch, capsys):
    """`ctxvision demo` with the steps cut down: real pictures, real server, three answers."""
    import ctxvision.pipeline as pipeline
    from ctxvision.data import write_demo_data

    small = {"phrase_steps": 60, "visual_steps": 30, "text_steps": 30, "head_steps": 60, "seeds": 1}
    monkeypatch.setattr(pipeline, "QUICK", {**pipeline.DEMO, **small, "fractions": [1.0]})
    monkeypatch.setattr(pipeline, "write_demo_data", lambda folder: write_demo_data(folder, limit=6))
    assert main(["demo", "--quick", "--out", str(tmp_path / "demo")]) == 0
    out = capsys.readouterr().out
    assert out.count(".png") == 3 and "report.html" in out and "gRPC" in out
    records = json.loads((tmp_path / "demo" / "metrics.json").read_text())
    assert {record["split"] for record in records} == {"seen", "unseen"}


def test_a_second_picture_folder_by_label_column(tmp_path, capsys):
    data = write_tiny_data(tmp_path / "data", web=8, labelled=8, test=4)
    assert (
        main(["train", "--data", str(data), "--out", str(tmp_path / "run"), "--label-column", "split"]) == 2
    )
    assert "label" in capsys.readouterr().err
