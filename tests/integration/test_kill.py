"""A run that is killed resumes, and ends at the figures of a run that was not killed."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import ctxvision as cv
from tests.tiny_data import tiny_settings

pytestmark = pytest.mark.slow

TRAIN = [sys.executable, "-m", "ctxvision.cli", "train"]


def kill_when(command, condition, seconds=120):
    """Starts `command` and kills it with SIGKILL as soon as `condition()` holds."""
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end, "the moment to kill never came"
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()


def kill_in_each(command, stages):
    """Starts `command` once for each stage, and kills it as soon as it prints the start of that stage."""
    for stage in stages:
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        told = []
        for line in process.stderr:
            told.append(line)
            if line == f"{stage}: started\n":
                os.kill(process.pid, signal.SIGKILL)
                break
        else:
            raise AssertionError(f"stage {stage} never started: {''.join(told)}")
        process.communicate()


def settings_file(path, settings):
    path.write_text(json.dumps(settings))
    return str(path)


def records(run):
    found = json.loads((run / "metrics.json").read_text())
    return sorted((json.dumps({**record, "value": None}), record["value"]) for record in found)


def test_killed_in_the_two_longest_stages(tiny_data, tiny_run, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(tiny_settings(tiny_data)))
    run = tmp_path / "run"
    command = [*TRAIN, str(tiny_data), "--out", str(run), "--config", str(tmp_path / "config.json")]
    kill_when(command, (run / "context" / "unfinished" / "generator" / "state.json").exists)
    assert not (run / "context" / "generator").exists()
    kill_when(command, (run / "unfinished" / "visual-1" / "state.json").exists)
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr
    assert "visual/0.5: done before, kept" in done.stderr

    for name in ("context/generator", "visual/1", "context/text", "head"):
        whole, resumed = (np.load(folder / name / "weights.npz") for folder in (tiny_run.directory, run))
        for key in whole.files:
            np.testing.assert_array_equal(whole[key], resumed[key])
    whole = json.loads((tiny_run.directory / "metrics.json").read_text())
    assert len(whole) > 20
    assert records(run) == records(tiny_run.directory)
    leftovers = [path for path in run.rglob(".*") if path.name != ".lock"]
    assert not (run / "unfinished").exists()
    assert len(leftovers) <= 2  # temporary files of the two killed processes, which nobody reads


def test_killed_in_each_stage_of_a_context_and_of_a_run_over_it(tiny_data, tiny_run, tmp_path):
    """`tiny_run` made the same context for itself and was never killed."""
    context, run, settings = str(tmp_path / "web"), tmp_path / "run", tiny_settings(tiny_data)
    of_context, of_run = (
        settings_file(
            tmp_path / f"{kind.__name__}.json", {k: v for k, v in settings.items() if k in kind.names()}
        )
        for kind in (cv.ContextConfig, cv.Config)
    )
    command = [sys.executable, "-m", "ctxvision.cli", "context", "train", str(tiny_data), "--out", context]
    command += ["--config", of_context]
    kill_in_each(command, ("generator", "table", "text", "index"))
    assert subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0
    assert cv.Context(context).fingerprint == tiny_run.context.fingerprint

    command = [*TRAIN, str(tiny_data), "--out", str(run), "--context", context, "--config", of_run]
    kill_in_each(
        command,
        ("table", "visual/0.5", "visual/1", "head", "visual_only", "accuracy", "export", "evaluation"),
    )
    assert subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0
    assert records(run) == records(tiny_run.directory)
    assert (run / "report.html").is_file() and (run / "export" / "1" / "saved_model.pb").is_file()
