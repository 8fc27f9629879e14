"""Changes since a run was made are refused, and two processes do not work in one folder."""

import json
import os
import shutil

import pytest
from PIL import Image

import ctxvision as cv
from ctxvision._files import only_here
from ctxvision.cli import main
from tests.tiny_data import tiny_settings


@pytest.fixture
def moved(tiny_data, tiny_run, tmp_path):
    """A copy of the run over a copy of its data."""
    data = shutil.copytree(tiny_data, tmp_path / "data")
    run = shutil.copytree(tiny_run.directory, tmp_path / "run")
    return cv.Run(run, data=str(data)), data


def test_a_run_remembers_the_new_place_of_its_data(moved, tmp_path):
    run, data = moved
    assert cv.Run(run.directory).data.manifest.root == str(data)
    data.rename(tmp_path / "elsewhere")
    with pytest.raises(
        cv.InputError, match="which is not a folder: check the path; where the data of a run was moved"
    ):
        _ = cv.Run(run.directory).data
    found = cv.Run(run.directory, data=tmp_path / "elsewhere")
    assert len(found.data.split("train")) and cv.Run(run.directory).data.manifest.root == str(
        tmp_path / "elsewhere"
    )


def test_replaced_pictures_are_refused(moved):
    run, data = moved
    place = data / "images" / "test-easy-3.png"
    before = place.read_bytes()
    Image.new("RGB", (20, 20), "white").save(place)
    with pytest.raises(
        cv.InputError,
        match="pictures of split 'test:easy' in 'data' must be the training pictures of .*, got",
    ):
        cv.evaluate(run.directory, "calibration")
    place.write_bytes(before)
    os.utime(place, (0, 0))  # a changed time without changed pictures is accepted
    assert len(cv.Run(run.directory).data.split("test:easy"))


def test_changed_labels_are_refused(moved, capsys):
    run, data = moved
    table = data / "images.csv"
    table.write_text(
        table.read_text().replace(
            "test-easy-0.png,test:easy,red label", "test-easy-0.png,test:easy,blue label"
        )
    )
    assert main(["evaluate", str(run.directory), "--suite", "calibration"]) == 2
    assert "the run's data must say of its pictures what it said when run" in capsys.readouterr().err
    with pytest.raises(cv.InputError, match="data must say of its pictures what it said"):
        cv.Run(run.directory, data=data)


def test_changed_terms_of_labels_are_refused(moved):
    run, data = moved
    terms = data / "labels.json"
    before = terms.read_text()
    terms.write_text(before.replace("{", '{"red label": {"synset_terms": ["scarlet"]}, ', 1))
    with pytest.raises(cv.InputError, match="labels.json of the run's data must be as it was when run"):
        cv.evaluate(run.directory, "calibration")
    with pytest.raises(cv.InputError, match="made with the same settings, got .* where labels.json differ"):
        cv.train(data, run.directory, run.config)
    terms.write_text(before)
    assert cv.Run(run.directory).data.manifest.label_terms


def test_training_resumes_with_moved_data(moved, tiny_data, tmp_path):
    run, data = moved
    data.rename(tmp_path / "elsewhere")
    again = cv.train(tmp_path / "elsewhere", run.directory, cv.Config.from_dict(tiny_settings(tiny_data)))
    assert again.data.manifest.root == str(tmp_path / "elsewhere")


def test_a_folder_without_a_finished_stage_takes_other_settings(tiny_data, tmp_path):
    data = shutil.copytree(tiny_data, tmp_path / "data")
    (data / "images" / "train-1.png").write_bytes(b"damaged")
    with pytest.raises(cv.InputError, match="1 of 48 pictures of split 'train' cannot be read"):
        cv.train(data, tmp_path / "run", cv.Config.from_dict(tiny_settings(data)))
    stored = json.loads((tmp_path / "run" / "config.json").read_text())
    shutil.copy(data / "images" / "train-5.png", data / "images" / "train-1.png")
    settings = {**tiny_settings(data), "seed": 1, "languages": ["xx"]}
    with pytest.raises(cv.InputError, match="queries must include at least 2"):  # not "choose another folder"
        cv.train(data, tmp_path / "run", cv.Config.from_dict(settings))
    assert json.loads((tmp_path / "run" / "config.json").read_text()) == stored


def test_two_processes_in_one_folder(moved, tmp_path):
    run, data = moved
    sentence = f"must be in use by one process, got process {os.getpid()} at work in it: wait for that process, or stop it"
    with only_here(run.directory, "run"):
        for work in (
            lambda: cv.evaluate(run, "calibration"),
            lambda: cv.train(data, run.directory, run.config),
        ):
            with pytest.raises(cv.InputError, match=sentence):
                work()
    with (
        only_here(tmp_path / "export", "export"),
        pytest.raises(cv.InputError, match=f"export .* {sentence}"),
    ):
        cv.export(run, tmp_path / "export")
    assert not (tmp_path / "export").exists()  # nothing was written
