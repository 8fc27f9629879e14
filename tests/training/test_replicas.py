"""Two replicas end at the weights of one device that sees the same global batches."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.stages import stages


@pytest.fixture(scope="module")
def told():
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.two_replicas"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_every_stage_was_trained_on_two_replicas(told):
    assert told["replicas"] == 2
    assert list(told["stages"]) == [name for name, _ in stages()]


@pytest.mark.parametrize("name", [name for name, _ in stages()])
def test_weights_and_loss_are_those_of_one_device(told, name):
    stage = told["stages"][name]
    assert stage["moved"] > 5e-3, "nothing was learnt that could differ"
    assert stage["weights"] < 1e-4
    assert stage["loss"][0] == pytest.approx(stage["loss"][1], rel=1e-5)


@pytest.mark.parametrize("name", [name for name, _ in stages() if "text" not in name])
def test_moving_variances_differ_by_their_denominator_alone(told, name):
    """One device's fused kernel divides by N - 1, where the replicas divide by N, of 16 · 7 · 7 numbers."""
    assert told["stages"][name]["moving_variance"] < 1.01 / (16 * 7 * 7 - 1)


def test_predictions_are_those_of_one_device(told):
    assert told["prediction"]["probabilities"] < 1e-5
    assert told["prediction"]["same_phrases"]
