"""Two replicas end at the weights of one device on the same global batches."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.stages import stages

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def told():
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.two_replicas"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        timeout=1200,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return {found.pop("name"): found for found in map(json.loads, done.stdout.splitlines())}


def test_every_stage_was_trained(told):
    assert list(told) == [*(name for name, _ in stages()), "prediction", "checkpoint"]


@pytest.mark.parametrize("name", [name for name, _ in stages()])
def test_weights_and_loss_equal_those_of_one_device(told, name):
    stage = told[name]
    assert stage["moved"] > 5e-3, "nothing was learnt that could differ"
    assert stage["weights"] < 1e-4
    assert stage["loss"][0] == pytest.approx(stage["loss"][1], rel=1e-5)


@pytest.mark.parametrize("name", [name for name, _ in stages() if "text" not in name])
def test_moving_variances_differ_only_by_their_denominator(told, name):
    """One device's fused kernel divides by N - 1, the replicas divide by N, with N = 16 · 7 · 7."""
    assert told[name]["moving_variance"] < 1.01 / (16 * 7 * 7 - 1)


def test_predictions_equal_those_of_one_device(told):
    found = told["prediction"]
    assert found["probabilities"] < 1e-5
    assert found["same_phrases"]
    assert set(found["copies"]) == {2}, "each replica has the tables in its own memory"


def test_the_whole_model_is_fine_tuned_as_on_one_device(told):
    found = told["prediction"]
    assert found["moved"] > 5e-4
    assert found["after_fit"] < 1e-5
    assert found["phrases_after_fit"]


def test_each_replica_keeps_its_class_rows_and_restores_them_from_a_checkpoint(told):
    found = told["checkpoint"]
    assert found["rows"] == [302, 302], "half of 601, and a row that nobody reads"
    assert found["moved"] > 5e-3
    assert found["epoch"] == 1 and found["same"]
