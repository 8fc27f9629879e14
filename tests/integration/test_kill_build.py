"""A build that is killed leaves the old table or the new table, never a mixture.

CTXVISION_KILLS sets the number of kills, 12 by default.
"""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from ctxvision import PhraseTable

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("CTXVISION_KILLS", "12"))
PAIRS = 10_000
# Builds one table after another, each marked by its number, in so little memory that sums are spilled several times.
BUILD = f"""
import sys
import numpy as np
from ctxvision.vocabulary import build_prototypes, builder

builder.SHARE = 5e-6  # of {10**11:,} bytes

def batches(number):
    rng = np.random.default_rng(number)
    for _ in range(10):
        ids = rng.integers(0, 3000, {PAIRS} // 10).tolist()
        yield [f"phrase {{i}} of {{number}}" for i in ids], rng.normal(size=(len(ids), 8))

print("ready", flush=True)
for number in range(int(sys.argv[2]), 10**9):
    build_prototypes(batches(number), sys.argv[1], memory=10**11)
    print(number, flush=True)
"""


def start(folder, number):
    command = [sys.executable, "-c", BUILD, str(folder / "table"), str(number)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def kill(process):
    """Returns the output that has not been read yet."""
    os.kill(process.pid, signal.SIGKILL)
    return process.communicate()[0].split()


def number_of(table):
    """Returns the number of the build of a table, after a check of all rows."""
    numbers = {int(phrase.rpartition(" ")[2]) for phrase in table.phrases}
    assert len(numbers) == 1 and int(table.counts.sum()) == PAIRS
    assert abs((table.prototypes**2).sum(axis=1) - 1).max() < 1e-5
    assert (table.ids([table.phrases[0], table.phrases[-1]]) == [0, len(table) - 1]).all()
    return numbers.pop()


def test_killed_at_random_moments(tmp_path):
    process = start(tmp_path, 0)
    begun = time.monotonic()
    for number in range(3):
        assert int(process.stdout.readline()) == number
    seconds = (time.monotonic() - begun) / 3
    kill(process)

    rng, found = random.Random(0), number_of(PhraseTable.load(tmp_path / "table"))
    assert found >= 2
    for _ in range(KILLS):
        process = start(tmp_path, found + 1)
        time.sleep(rng.uniform(0, 1.5 * seconds))
        before, printed = found, kill(process)
        found = number_of(PhraseTable.load(tmp_path / "table"))
        done = int(printed[-1]) if printed else before
        assert found in (done, done + 1)  # the new table may exist before its number is printed
    left = {path.name for path in tmp_path.iterdir()} - {"table"}
    assert len(left) <= 1  # each build removes the files of a killed one
