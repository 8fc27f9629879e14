"""A phrase table opens at the old or the new generation after a kill at any moment of a change.

KILL_MOMENTS sets how many moments of each change are tried.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from ctxvision import PhraseTable

pytestmark = pytest.mark.slow

MOMENTS = int(os.environ.get("KILL_MOMENTS", "10"))
ROWS, DIM = 40_000, 32

# Imports once, then forks a process for each line "folder change seconds", kills it after that time (0: never), and
# prints the time that it lived. Data for a change is loaded before the clock starts.
DRIVER = """
import os, signal, sys, time
import numpy as np
from ctxvision.vocabulary.phrase_table import PhraseTable

rng = np.random.default_rng(1)
given = [f"phrase {i}" for i in range(0, 50_000, 7)], rng.normal(size=(7143, 32)), [3] * 7143
other = PhraseTable.from_arrays(*given)

changes = {
    "upsert": lambda table: table.upsert(*given),
    "merge": lambda table: table.merge(other),
    "remove": lambda table: table.remove(given[0][:5000]),
    "shrink": lambda table: table.shrink(3),
}
for line in sys.stdin:
    folder, change, seconds = line.split()
    ready, begun = os.pipe()
    child = os.fork()
    if child == 0:
        table = PhraseTable.load(folder)
        os.write(begun, b".")
        changes[change](table)
        os._exit(0)
    os.read(ready, 1)
    start = time.monotonic()
    if float(seconds):
        time.sleep(float(seconds))
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    print(time.monotonic() - start, os.waitstatus_to_exitcode(status), flush=True)
    os.close(ready), os.close(begun)
"""


@pytest.fixture(scope="module")
def driver():
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def run(folder, change, seconds=0.0):
            """Returns the seconds lived and the exit code."""
            process.stdin.write(f"{folder} {change} {seconds}\n")
            process.stdin.flush()
            lived, code = process.stdout.readline().split()
            return float(lived), int(code)

        yield run
        process.stdin.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    rng = np.random.default_rng(0)
    phrases = [f"phrase {i}" for i in range(ROWS)]
    table = PhraseTable.from_arrays(phrases, rng.normal(size=(ROWS, DIM)), rng.integers(1, 6, ROWS))
    folder = tmp_path_factory.mktemp("kill") / "table"
    table.save(folder)
    return folder


def copied(folder, target):
    """Copies a table with links, since column files never change."""
    return shutil.copytree(folder, target, copy_function=os.link)


def columns(folder):
    """Returns every byte of the valid generation, which must open."""
    assert len(PhraseTable.load(folder)) > 0
    return {path.name: path.read_bytes() for path in (folder / generation(folder)).iterdir()}


def generation(folder):
    return f"generation-{json.loads((folder / 'table.json').read_text())['generation']}"


@pytest.mark.parametrize("change", ["upsert", "merge", "remove", "shrink"])
def test_old_or_new(driver, folder, tmp_path, change):
    old = columns(folder)
    durations = []
    for i in range(3):
        lived, code = driver(copied(folder, tmp_path / f"whole-{i}"), change)
        assert code == 0
        durations.append(lived)
    new = columns(tmp_path / "whole-0")
    assert new != old
    outcomes = set()
    for moment in range(MOMENTS):
        place = copied(folder, tmp_path / f"killed-{moment}")
        # Goes a little beyond the end, because the change deletes the old generation last.
        _, code = driver(place, change, 1.1 * sorted(durations)[1] * (moment + 0.5) / MOMENTS)
        found = columns(place)
        assert found in (old, new)
        outcomes.add((code, found == new))

        # The next change removes leftovers, and ends where an undisturbed change would have ended.
        if found == old:
            assert driver(place, change)[1] == 0
            assert columns(place) == new
        else:
            PhraseTable.load(place).remove(["phrase 1"])
        generations = [path.name for path in place.iterdir()]
        assert sorted(generations) == [".lock", generation(place), "table.json"]
        shutil.rmtree(place)
    assert (-signal.SIGKILL, False) in outcomes, "no process was killed before it was done"


def test_a_killed_writer_holds_no_lock(driver, folder, tmp_path):
    place = copied(folder, tmp_path / "table")
    driver(place, "upsert", 0.01)
    start = time.monotonic()
    PhraseTable.load(place).remove(["phrase 1"])
    assert time.monotonic() - start < 5
