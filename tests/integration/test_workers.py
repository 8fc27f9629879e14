"""Two processes train together; when one is killed, both resume from the last checkpoint."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def worker(folder, result, pause=0.0, index=None, ports=()):
    """Starts a process of `one_worker`: worker `index` of a cluster, or a single process."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment.pop("TF_CONFIG", None)
    if ports:
        cluster = {"worker": [f"localhost:{port}" for port in ports]}
        task = {"type": "worker", "index": index}
        environment["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": task})
    command = [sys.executable, "-m", "tests.integration.one_worker", str(folder), str(result), str(pause)]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def two_workers(folder, result, pause=0.0):
    sockets = [socket.socket() for _ in range(2)]
    for one in sockets:
        one.bind(("localhost", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return [worker(folder, result, pause, index, ports) for index in range(2)]


def ended(processes, seconds=300):
    """Returns each process's exit status, standard output and error."""
    told = []
    try:
        for process in processes:
            out, error = process.communicate(timeout=seconds)
            told.append((process.returncode, out, error))
    finally:
        for process in processes:
            process.kill()
    return told


@pytest.fixture(scope="module")
def unkilled(tmp_path_factory):
    """Reads the final weights of one process."""
    folder = tmp_path_factory.mktemp("alone")
    ((status, out, error),) = ended([worker(folder / "run", folder / "weights.npz")])
    assert status == 0 and "1 workers, chief True" in out, error
    return np.load(folder / "weights.npz")


def test_a_worker_is_killed_and_both_resume(unkilled, tmp_path):
    run, result = tmp_path / "run", tmp_path / "weights.npz"
    state = run / "unfinished" / "state.json"
    first = two_workers(run, result, pause=0.1)
    end = time.monotonic() + 300
    while not (state.exists() and json.loads(state.read_text())["epoch"] >= 1):
        assert first[0].poll() is None and first[1].poll() is None, ended(first)
        assert time.monotonic() < end, "no checkpoint came"
        time.sleep(0.05)
    os.kill(first[1].pid, signal.SIGKILL)
    (status, _, error), _ = ended(first)
    assert status == 1 and "because another worker was lost" in error
    assert "start the same command on all workers again" in error
    assert not result.exists()

    before = json.loads(state.read_text())
    assert before["epoch"] >= 1
    (status, out, error), (other, other_out, _) = ended(two_workers(run, result))
    assert status == other == 0, error
    assert "2 workers, chief True" in out and "2 workers, chief False" in other_out
    assert int(re.search(r"(\d+)%", error)[1]) == 25 * before["epoch"], "it did not go on where it was"

    found, of_the_other = dict(np.load(result)), np.load(result.with_name("of-the-other.npz"))
    for key in ("table", "squares"):  # twelve classes: six of each worker, and the dummy row
        assert len(found[key]) == len(of_the_other[key]) == 7
        found[key] = np.concatenate([found[key][:6], of_the_other[key][:6]])
    assert list(found) == unkilled.files
    for key in found:
        # The moving variance of the convolution differs by N / (N - 1), see `batch_norm`, with N = 8 · 7 · 7.
        np.testing.assert_allclose(found[key], unkilled[key], rtol=1 / 391, atol=1e-4, err_msg=key)
