"""A terminal's manners: pipes, encodings, abbreviations, full disks, settings files."""

import errno
import json
import os
import subprocess
import sys

import pytest
import tensorflow as tf

from ctxvision.cli import main


def test_python_m_ctxvision():
    done = subprocess.run(
        [sys.executable, "-m", "ctxvision", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("0.")


def test_an_abbreviation_is_a_typing_error(capsys):
    for arguments in (
        ["train", "photos", "--conf", "c.json"],
        ["context", "train", "x", "--out", "c", "--assoc", "f"],
    ):
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert stopped.value.code == 2 and "unrecognized arguments: --" in capsys.readouterr().err


def many_lines(number=4000):
    return f"""
import sys
import ctxvision.cli
program = sys.modules["ctxvision.cli.main"]
class Chosen:
    def verb(self, chosen):
        for i in range({number}):
            print(i, "каштан")
program._parser = lambda: type("P", (), {{"parse_args": lambda self, given: Chosen()}})()
raise SystemExit(program.main([]))
"""


def test_a_pipe_that_is_closed_ends_quietly(tmp_path):
    (tmp_path / "program.py").write_text(many_lines(200_000))
    with subprocess.Popen(
        [sys.executable, str(tmp_path / "program.py")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        told = process.stderr.read()
    assert process.returncode == 1 and told == b""


def test_an_encoding_that_lacks_a_letter(tmp_path):
    (tmp_path / "program.py").write_text(many_lines(1))
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, str(tmp_path / "program.py")], capture_output=True, env=environment, check=False
    )
    assert done.returncode == 0 and done.stdout == rb"0 \u043a\u0430\u0448\u0442\u0430\u043d" + b"\n"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        tf.errors.ResourceExhaustedError(None, None, "/runs/x/variables; No space left on device"),
        tf.errors.UnknownError(None, None, "write failed: No space left on device\nmore"),
    ],
)
def test_a_full_disk_is_one_sentence(error, monkeypatch, capsys, tmp_path):
    def full(*arguments, **named):
        raise error

    monkeypatch.setattr("ctxvision.train", full)
    assert main(["train", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert told == "ctxvision: the disk is full: make room, then give the same command again.\n"


def test_a_fault_of_ours_is_still_told_whole(monkeypatch, tmp_path):
    def broken(*arguments, **named):
        raise KeyError("lost")

    monkeypatch.setattr("ctxvision.train", broken)
    with pytest.raises(KeyError):
        main(["train", str(tmp_path)])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"fractions": 0.5}, "fractions must be numbers above 0 and up to 1, got 0.5"),
        ({"languages": 5}, "languages must be a list of language codes, got 5"),
        ({"languages": "en"}, "languages must be a list of language codes, got 'en'"),
        ({"seed": 2**32}, "seed must be at most 4294967295, got 4294967296"),
        ({"seed": -1}, "seed must be a whole number of at least 0, got -1"),
    ],
)
def test_settings_of_another_kind(settings, sentence, tiny_data, tmp_path, capsys):
    # Some editors write a mark before UTF-8.
    (tmp_path / "config.json").write_text(json.dumps(settings), encoding="utf-8-sig")
    arguments = [
        "train",
        str(tiny_data),
        "--config",
        str(tmp_path / "config.json"),
        "--out",
        str(tmp_path / "run"),
    ]
    assert main(arguments) == 2
    assert sentence in capsys.readouterr().err and not (tmp_path / "run").exists()
