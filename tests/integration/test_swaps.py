"""Versions are replaced under load in a separate server: no request fails, and one version answers each request."""

import shutil

import numpy as np
import pytest

import ctxvision as cv
from tests.serving.conftest import encode
from tests.tiny_model import tiny_classifier
from tools.benchmarks._serving.process import ServerProcess
from tools.benchmarks._serving.swaps import AVAILABLE, END, await_state, load_during, place, states, swap

pytestmark = pytest.mark.slow

SWAPS = 4
LABELS = [["even cat", "even dog", "even bird"], ["odd cat", "odd dog", "odd bird"]]


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports")
    return [
        cv.export_saved_model(tiny_classifier(labels=names), folder / str(i))
        for i, names in enumerate(LABELS)
    ]


@pytest.fixture
def pictures():
    rng = np.random.default_rng(2)
    return [encode(rng.integers(0, 256, (30, 30, 3), np.uint8)) for _ in range(3)]


def test_no_request_fails_and_each_is_answered_by_one_version(exports, pictures, tmp_path):
    place(exports[1], tmp_path, 1)
    with ServerProcess(tmp_path) as server:

        def load(action):
            done = load_during(action, server.address, [set(names) for names in LABELS], pictures)
            assert done.failures == []
            assert len(done.latencies) > SWAPS

        load(lambda: swap(server.address, tmp_path, exports, SWAPS))
        expected = {**dict.fromkeys(range(1, SWAPS + 1), END), SWAPS + 1: AVAILABLE}
        assert {version: status.state for version, status in states(server.address).items()} == expected

        # The next version is copied slowly, part by part.
        growing = tmp_path / str(SWAPS + 2)

        def copy_model():
            begun = tmp_path / "begun"
            begun.mkdir()
            shutil.copy(exports[0] / "saved_model.pb", begun)
            begun.rename(growing)  # renamed at once, because an empty version has its own message
            failed = await_state(server.address, SWAPS + 2, END)
            assert "must be a whole SavedModel" in failed.status.error_message

        def copy_the_rest():
            for name in ("variables", "assets.extra"):
                shutil.copytree(exports[0] / name, growing / name)
            await_state(server.address, SWAPS + 2, AVAILABLE)

        load(copy_model)
        assert states(server.address)[SWAPS + 1].state == AVAILABLE
        load(copy_the_rest)
        assert server.alive, server.errors()
