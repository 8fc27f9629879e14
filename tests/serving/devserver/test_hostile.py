"""Hostile inputs to a separate server: it refuses or answers each, goes on, and its memory is bounded."""

import pytest

from tools.benchmarks._serving import hostile
from tools.benchmarks._serving.process import ServerProcess

pytestmark = pytest.mark.slow

INPUTS = 400
MEMORY_BYTES = 2 * 2**30


@pytest.fixture(scope="module")
def server(export_directory):
    with ServerProcess(export_directory) as running:
        yield running


def test_every_input_is_answered_or_refused(server):
    verdicts = hostile.attack(server.address, INPUTS, seed=1)
    assert verdicts.wrong == []
    assert sum(verdicts.counts.values()) == INPUTS
    assert server.alive, server.errors()
    assert "Traceback" not in server.errors()
    assert server.memory(peak=True) < MEMORY_BYTES
