"""Stages of a folder are written completely or not at all, with their curves and seconds."""

import pytest

from ctxvision.errors import InputError
from ctxvision.training.progress import Progress
from ctxvision.training.stages import Stages


def made(folder, stage, **facts):
    stages = Stages(folder, "train again")

    def work():
        with stages.finishing(stage, **facts):
            pass

    stages.run(stage, Progress(), work)
    return stages


def test_a_stage_runs_once_and_keeps_its_facts(tmp_path):
    stages = made(tmp_path, "text", classes=3)
    stages.run("text", Progress(), lambda: pytest.fail("it is done"))
    facts = stages.facts("text")
    assert facts["classes"] == 3 and 0 <= facts["seconds"] < 60
    with pytest.raises(InputError, match="must have the finished stage 'table', got none: train again"):
        stages.folder("table")


def test_a_failed_stage_leaves_nothing(tmp_path):
    stages = Stages(tmp_path, "train again")
    with pytest.raises(OSError, match="disk"), stages.finishing("text") as folder:
        (folder / "weights.npz").write_bytes(b"")
        raise OSError("disk")
    assert not stages.is_done("text")


def test_a_context_inside_counts_and_another_run_does_not(tmp_path):
    stages = made(tmp_path, "visual/1", curves={"loss": [2.0]})
    made(tmp_path / "context", "generator", curves={"loss": [3.0]})
    made(tmp_path / "groups", "visual/1", curves={"loss": [4.0]})
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "groups" / "config.json").write_text("{}")
    assert stages.curves() == {"context/generator": {"loss": [3.0]}, "visual/1": {"loss": [2.0]}}
    assert set(stages.seconds()) == {"context/generator", "visual/1"}
