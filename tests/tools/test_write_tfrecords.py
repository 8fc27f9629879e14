"""The writer of TFRecord shards writes the same content after any interruption."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ctxvision.data import load_data
from tests.data.layouts import write_open_images
from tools import write_tfrecords
from tools.write_tfrecords import main

TOOL = [sys.executable, write_tfrecords.__file__]


def sums(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.tfrecord")}


def test_the_facts_describe_the_files(tiny_data, tmp_path):
    assert main([str(tiny_data), str(tmp_path / "a"), "--shard-megabytes", "0.02", "--workers", "3"]) == 0
    facts = json.loads((tmp_path / "a" / "records.json").read_text())
    assert facts["complete"] and set(facts["schema"].values()) == {"bytes_list"}
    assert {name: one["sha256"] for name, one in facts["shards"].items()} == sums(tmp_path / "a")
    for name, one in facts["shards"].items():
        assert one["bytes"] == (tmp_path / "a" / name).stat().st_size
    assert sum(one["records"] for one in facts["shards"].values()) == 192
    assert {name.split("-0")[0] for name in facts["shards"]} == {"web", "train", "test%3Aeasy", "test%3Ahard"}
    assert not list((tmp_path / "a").glob(".*"))

    main([str(tiny_data), str(tmp_path / "b"), "--shard-megabytes", "0.02", "--workers", "1"])
    assert sums(tmp_path / "b") == sums(tmp_path / "a")
    before = {
        path: path.stat().st_mtime_ns for path in (tmp_path / "a").iterdir() if path.suffix == ".tfrecord"
    }
    assert main([str(tiny_data), str(tmp_path / "a"), "--shard-megabytes", "0.02"]) == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.slow
def test_killed_and_resumed(tiny_data, tmp_path):
    arguments = ["--shard-megabytes", "0.003", "--workers", "1"]
    main([str(tiny_data), str(tmp_path / "whole"), *arguments])
    out = tmp_path / "killed"
    environment = {**os.environ, "PYTHONPATH": str(Path(write_tfrecords.__file__).parents[1])}
    process = subprocess.Popen(
        [*TOOL, str(tiny_data), str(out), *arguments], stderr=subprocess.PIPE, env=environment
    )
    while not list(out.glob("*.tfrecord")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert 0 < len(sums(out)) < len(sums(tmp_path / "whole"))
    kept = {path: path.stat().st_mtime_ns for path in out.glob("*.tfrecord")}
    assert main([str(tiny_data), str(out), *arguments]) == 0
    assert sums(out) == sums(tmp_path / "whole")
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert (out / "records.json").read_text() == (tmp_path / "whole" / "records.json").read_text()


@pytest.mark.filterwarnings("ignore:1 pictures of Open Images")
def test_from_one_source_to_another(tmp_path):
    """Verified absences are kept, and records written from records are the same."""
    source = write_open_images(tmp_path / "open-images", train=3, test=1)
    assert main([source, str(tmp_path / "a")]) == 0
    manifest = load_data(f"records:{tmp_path}/a/*.tfrecord")
    train, expected = manifest.split("train"), load_data(source).split("train")
    assert sorted(zip(train.labels, train.absent)) == sorted(zip(expected.labels, expected.absent))
    assert main([f"records:{tmp_path}/a/*.tfrecord", str(tmp_path / "b")]) == 0
    assert sums(tmp_path / "a") == sums(tmp_path / "b")


def test_bad_input(tiny_data, tmp_path, capsys):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "images.csv").write_text("image,split,label,queries\na.png,web,,cat\n")
    main([str(tiny_data), str(tmp_path / "other")])
    for arguments, sentence in (
        (["/nowhere", str(tmp_path / "out")], "data must name a folder"),
        ([str(tmp_path / "data"), str(tmp_path / "out")], "every picture must be readable, got '"),
        (
            [str(tmp_path / "data"), str(tmp_path / "other")],
            "out must be a new folder, or hold the same records",
        ),
        (
            [str(tiny_data), str(tmp_path / "out2"), "--workers", "0"],
            "shard_megabytes and workers must be above 0",
        ),
        (
            [str(tiny_data), str(tmp_path / "data/images.csv/x")],
            "images.csv/x' must be readable, got an error",
        ),
    ):
        capsys.readouterr()
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert error.startswith("write_tfrecords: ") and sentence in error and error.count("\n") == 1
