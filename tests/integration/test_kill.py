"""A run that is killed goes on, and ends at the same numbers as one that was not."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.tiny_data import tiny_settings

pytestmark = pytest.mark.slow

TRAIN = [sys.executable, "-m", "ctxvision.cli", "train"]


def kill_when(command, condition, seconds=120):
    """Starts `command` and kills it, as a power cut would, as soon as `condition()` holds."""
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end, "the moment to kill never came"
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()


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
    assert len(leftovers) <= 2  # temporary names of the two killed processes, never read
