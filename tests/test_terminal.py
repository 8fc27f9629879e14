"""How the command line treats terminals, pipes, encodings, typing errors, full disks and settings files."""

import errno
import io
import json
import os
import re
import subprocess
import sys

import pytest
import tensorflow as tf

from ctxvision.cli import main
from ctxvision.cli.main import _parser


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


def test_python_m_ctxvision():
    done = subprocess.run(
        [sys.executable, "-m", "ctxvision", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("ctxvision 0.")


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("trian photos", "ctxvision: unknown verb 'trian', did you mean train?"),
        ("eval runs/a", "ctxvision: unknown verb 'eval', did you mean evaluate?"),
        ("--quiet phrases lst run", "ctxvision phrases: unknown verb 'lst', did you mean list?"),
        ("dance", "ctxvision: unknown verb 'dance' (see"),
        ("--vresion", "ctxvision: unrecognized arguments: --vresion, did you mean --version?"),
        (
            "train photos --contxt=c",
            "ctxvision train: unrecognized arguments: --contxt, did you mean --context?",
        ),
        ("export run --too there", "ctxvision export: unrecognized arguments: --too, did you mean --to?"),
        ("train a --zzz", "ctxvision train: unrecognized arguments: --zzz (see"),
        ("train", "ctxvision train: the following arguments are required: DATA"),
        ("train photos --quiet --verbose", "ctxvision train: argument --verbose: not allowed with"),
        # An abbreviation is a typing error.
        (
            "train photos --conf c.json",
            "ctxvision train: unrecognized arguments: --conf, did you mean --config?",
        ),
        (
            "context train x --out c --assoc f",
            "unrecognized arguments: --assoc, did you mean --associations?",
        ),
    ],
)
def test_a_typing_error_is_one_line_with_a_suggestion(typed, told, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(typed.split())
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and told in error and error.count("\n") == 1
    assert re.search(r"\(see ctxvision( \w+)* --help\)\n$", error)


def test_words_behind_two_dashes_and_words_with_blanks_are_no_options():
    assert _parser().parse_args(["phrases", "remove", "run", "--", "--tro"]).phrases == ["--tro"]
    assert _parser().parse_args(["phrases", "remove", "run", "--a phrase"]).phrases == ["--a phrase"]


def test_errors_are_red_on_a_terminal_alone(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    for stream, no_color, starts in (
        (Terminal(), None, "\x1b[31mctxvision: run must be"),
        (Terminal(), "1", "ctxvision: run must be"),
        (io.StringIO(), None, "ctxvision: run must be"),
    ):
        if no_color:
            monkeypatch.setenv("NO_COLOR", no_color)
        else:
            monkeypatch.delenv("NO_COLOR", raising=False)
        monkeypatch.setattr(sys, "stderr", stream)
        assert main(["report", "/nowhere"]) == 2
        assert stream.getvalue().startswith(starts)


@pytest.mark.parametrize(("option", "level"), [("--verbose", "0"), ("--quiet", "3")])
def test_tensorflow_logs_only_with_verbose(option, level, monkeypatch):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "")  # put back after the test
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL")
    for arguments in ([option, "report", "/nowhere"], ["report", "/nowhere", option]):
        assert main(arguments) == 2
        assert os.environ.pop("TF_CPP_MIN_LOG_LEVEL") == level


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("ctxvision tr", {"train"}),
        ("ctxvision phrases s", {"search", "stats"}),
        ("ctxvision export run --retrieval ", {"ivf", "exact", "scann"}),
        ("ctxvision plan --dev", {"--devices"}),
        ("ctxvision train photos --config settings/a", {"settings/a.json"}),
    ],
)
def test_tab_completes(typed, found, tmp_path):
    (tmp_path / "settings").mkdir()
    (tmp_path / "settings/a.json").write_text("{}")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(tmp_path / "found"),
        "COMP_LINE": typed,
        "COMP_POINT": str(len(typed)),
    }
    subprocess.run([sys.executable, "-m", "ctxvision"], env=environment, cwd=tmp_path, check=True)
    assert {one.strip() for one in (tmp_path / "found").read_text().split("\n")} == found


def test_predictions_for_a_table_have_a_bar(tiny_run, tmp_path, monkeypatch, capsys):
    pictures = tiny_run.data.split("test:easy").paths[:8]
    given = ["predict", str(tiny_run.directory / "export"), *pictures, "--out"]
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert main([*given, str(tmp_path / "a.csv")]) == 0
    drawn = sys.stderr.getvalue()
    assert "predict:  12% |██▌" in drawn and "pictures/s, 1 of 8" in drawn
    assert re.search(r"\rpredict: done in \d\d:\d\d\n$", drawn)
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert main([*given, str(tmp_path / "b.csv"), "--quiet"]) == 0
    assert sys.stderr.getvalue() == ""
    assert capsys.readouterr().out.count("8 pictures, 0 of them without an answer") == 2


def test_an_error_clears_the_bar(monkeypatch, tmp_path):
    def stopped(*arguments, **named):
        progress = arguments[4]
        progress.start("head")
        progress.update(0.5)
        raise KeyboardInterrupt

    monkeypatch.setattr("ctxvision.train", stopped)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert main(["train", str(tmp_path)]) == 1
    lines = [line.strip() for line in re.split("[\r\n]", sys.stderr.getvalue())]
    assert "head:  50% |██████████          |, 00:00 elapsed, ? left" in lines
    assert "ctxvision: stopped; run the same command again to resume." in lines


def many_lines(number=4000):
    return f"""
import sys
import ctxvision.cli
program = sys.modules["ctxvision.cli.main"]
class Chosen:
    verbose = quiet = False
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


def test_help_into_a_pipe_that_is_closed():
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as pipe:
        command = [sys.executable, "-m", "ctxvision", "--help"]
        environment = {**os.environ, "PYTHONUNBUFFERED": ""}  # argparse ignores errors of unbuffered writes
        done = subprocess.run(command, stdout=pipe, stderr=subprocess.PIPE, env=environment, check=False)
    assert done.returncode == 1 and done.stderr == b""


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
    assert told == "ctxvision: the disk is full: free some space, then run the same command again.\n"


def test_a_bug_shows_its_traceback(monkeypatch, tmp_path):
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
