"""Predictions of many pictures, written to a table row by row."""

import csv
import json
import os
import shutil
import subprocess
import sys
import time

import pyarrow.parquet
import pytest

import ctxvision as cv
from ctxvision.cli import main
from ctxvision.serving import Server, predict, predict_to_file
from ctxvision.serving.bulk import named_pictures


@pytest.fixture
def folder(image_files, tmp_path):
    """A folder of 40 pictures and two files that are not pictures, and a picture that only a list names."""
    for number in range(40):
        os.link(image_files[number % len(image_files)], tmp_path / f"{number:02}.png")
    (tmp_path / "05.jpg").write_bytes(b"no picture")
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "empty.png").write_bytes(b"")
    (tmp_path / "notes.md").write_text("left out")
    return tmp_path


@pytest.fixture(scope="module")
def address(export_directory):
    with Server(export_directory, port=0) as server:
        yield f"localhost:{server.port}"


def read(path):
    if path.suffix == ".csv":
        with open(path, encoding="utf-8", newline="") as file:
            return [{k: v or None for k, v in row.items()} for row in csv.DictReader(file)]
    if path.suffix == ".parquet":
        return pyarrow.parquet.read_table(path).to_pylist()
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_every_picture_has_a_row_and_every_bad_file_an_error(export_directory, folder, tmp_path, suffix):
    out = tmp_path / f"answers{suffix}"
    assert predict_to_file(export_directory, folder, out) == (42, 2)
    rows = read(out)
    assert [row["path"] for row in rows] == named_pictures(folder) and len(rows) == 42
    refused = [row for row in rows if row.get("error")]
    assert [os.path.basename(row["path"]) for row in refused] == ["05.jpg", "empty.png"]
    assert all("image must be a JPEG, PNG, GIF, BMP or still WebP picture" in row["error"] for row in refused)
    answered = [row for row in rows if not row.get("error")]
    for row, expected in zip(
        answered, predict(export_directory, [row["path"] for row in answered]), strict=True
    ):
        assert row["label"] == expected.label and float(row["score"]) == pytest.approx(expected.score)
        named = [phrase for phrase, _ in expected.phrases]
        if suffix == ".jsonl":
            assert row.keys() == expected.to_json().keys()
            assert [one["phrase"] for one in row["phrases"]] == named
        else:
            assert row["phrases"] == ("|".join(named) if suffix == ".csv" else named)
    assert not list(tmp_path.glob("*.unfinished"))


def test_a_server_gives_the_same_rows_and_shares_are_columns(export_directory, address, folder, tmp_path):
    for target, name in ((export_directory, "a.csv"), (address, "b.csv")):
        predict_to_file(target, folder, tmp_path / name, explain=True)
    for one, other in zip(read(tmp_path / "a.csv"), read(tmp_path / "b.csv"), strict=True):
        assert one["label"] == other["label"] and one["error"] == other["error"]
        if not one["error"]:
            for column in ("score", "picture", "phrase_generator"):
                assert float(one[column]) == pytest.approx(float(other[column]), abs=1e-5)


def test_a_list_names_pictures_and_a_missing_picture_gets_an_error(export_directory, folder, tmp_path):
    (tmp_path / "list.txt").write_text(
        f"{folder / '01.png'}\n\n/nowhere.png\n{folder / '02.png'}\n{folder / '01.png'}\n"
    )
    assert predict_to_file(export_directory, tmp_path / "list.txt", tmp_path / "a.jsonl") == (3, 1)
    first, missing, second = read(tmp_path / "a.jsonl")
    assert first["path"].endswith("01.png") and second["path"].endswith("02.png")
    assert (
        missing["error"]
        == "image must be a file that can be read, got '/nowhere.png' (No such file or directory)."
    )


def test_a_stopped_call_resumes(export_directory, folder, tmp_path):
    out, journal, asked = tmp_path / "a.csv", tmp_path / "a.csv.unfinished", []
    with pytest.raises(KeyboardInterrupt):
        predict_to_file(export_directory, folder, out, tell=lambda done, total: stop_at(35, done))
    journal.write_bytes(journal.read_bytes()[:-9])  # killed while it wrote a row
    predict_to_file(export_directory, folder, out, tell=lambda done, total: asked.append((done, total)))
    assert asked == [(done, 42) for done in range(35, 43)]
    rows = read(out)
    assert sorted(row["path"] for row in rows) == sorted(named_pictures(folder))


def test_another_export_in_its_place_does_not_resume(export_directory, folder, tmp_path):
    export, out = shutil.copytree(export_directory, tmp_path / "export"), tmp_path / "a.csv"
    with pytest.raises(KeyboardInterrupt):
        predict_to_file(export, folder / "deeper", out, tell=lambda done, total: stop_at(1, done))
    (index,) = export.rglob("variables.index")
    index.write_bytes(index.read_bytes() + b"x")
    with pytest.raises(
        cv.InputError, match="out must be new or begun by the same call, got .*a.csv.unfinished"
    ):
        predict_to_file(export, folder / "deeper", out)


def typed(export_directory, folder, out):
    command = [sys.executable, "-m", "ctxvision", "predict", export_directory, folder, "--out", out]
    return [str(part) for part in command]


def test_a_second_process_that_writes_the_same_table_is_refused(export_directory, folder, tmp_path):
    out = tmp_path / "a.csv"
    command = typed(export_directory, folder, out)
    second = []

    def meanwhile(done, total):
        if done == 1:
            second.append(subprocess.run(command, capture_output=True, text=True))

    predict_to_file(export_directory, folder, out, tell=meanwhile)
    assert second[0].returncode == 2
    assert "out must be written by one process, got " in second[0].stderr
    assert len(read(out)) == 42


def stop_at(number, done):
    if done == number:
        raise KeyboardInterrupt


@pytest.mark.slow
def test_a_killed_call_resumes(export_directory, folder, tmp_path):
    for number in range(2000):
        os.link(folder / f"{number % 40:02}.png", folder / "deeper" / f"{number}.png")
    out = tmp_path / "a.jsonl"
    command = typed(export_directory, folder, out)
    for _ in range(3):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        before = journal_size(out)
        while process.poll() is None and journal_size(out) <= before + 20_000:
            time.sleep(0.05)
        process.kill()
        process.wait()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    paths = [row["path"] for row in read(out)]
    assert len(paths) == len(set(paths)) == 2042


def journal_size(out):
    journal = out.with_name(f"{out.name}.unfinished")
    return journal.stat().st_size if journal.exists() else 0


@pytest.mark.parametrize(
    "name, sentence",
    [
        ("a.xlsx", "out must end in .csv, .jsonl, .parquet, got .*a.xlsx': rename it"),
        (
            "there.csv",
            "out must be a new file, got .*there.csv', which exists: delete that file, or choose another",
        ),
        (
            "other.csv",
            "out must be new or begun by the same call, got .*other.csv.unfinished' of {'target': 'x'}",
        ),
    ],
)
def test_bad_input(export_directory, folder, tmp_path, name, sentence):
    (tmp_path / "there.csv").write_text("kept")
    (tmp_path / "other.csv.unfinished").write_text('{"target": "x"}\n')
    with pytest.raises(cv.InputError, match=sentence):
        predict_to_file(export_directory, folder, tmp_path / name)
    assert (tmp_path / "there.csv").read_text() == "kept"


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_name_that_is_no_utf8(export_directory, folder, tmp_path, suffix):
    place = os.fsencode(tmp_path) + b"/caf\xe9.png"
    os.link(folder / "00.png", place)
    out, images = tmp_path / f"a{suffix}", [os.fsdecode(place), "/nowhere-\udce9.png"]
    assert predict_to_file(export_directory, images, out) == (2, 1)
    first, missing = (row["path"].encode("utf-8", "backslashreplace") for row in read(out))
    assert first.endswith(rb"caf\udce9.png") and missing == rb"/nowhere-\udce9.png"


def test_a_list_that_is_no_utf8(export_directory, tmp_path):
    (tmp_path / "list.txt").write_bytes("one.png\ncafé.png\n".encode("latin-1"))
    with pytest.raises(cv.InputError, match="list.txt must be UTF-8, got byte 0xe9 in line 2: save the file"):
        predict_to_file(export_directory, tmp_path / "list.txt", tmp_path / "a.csv")


def test_no_pictures(export_directory, tmp_path, capsys):
    with pytest.raises(cv.InputError, match="images must name pictures, got none in"):
        predict_to_file(export_directory, tmp_path, tmp_path / "a.csv")
    assert main(["predict", str(export_directory), str(tmp_path)]) == 2
    assert "images must name pictures, got none in" in capsys.readouterr().err


def test_the_command_line(export_directory, folder, tmp_path, capsys):
    given = ["predict", str(export_directory), str(folder)]
    assert main([*given, "--out", str(tmp_path / "a.csv")]) == 0
    assert "42 pictures, 2 of them without an answer" in capsys.readouterr().out
    assert main([*given, "--out", str(tmp_path / "b.csv"), "--strict"]) == 1
    assert main([*given, "--json"]) == 0
    out, err = capsys.readouterr()
    assert (
        len(out.splitlines()) == 41 and err.count("ctxvision: image must be a") == 2
    )  # the last line names --out
    assert main(["predict", str(export_directory), str(folder / "05.jpg")]) == 2
