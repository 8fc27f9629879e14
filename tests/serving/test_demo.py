"""The last step of the demo, on a run with only a test split and an export."""

from types import SimpleNamespace

import pytest

import ctxvision as cv
from ctxvision.demo_run import demo_prediction
from ctxvision.serving import predict


@pytest.fixture
def run(tmp_path, image_files):
    splits = {"test:hard": SimpleNamespace(paths=image_files), "test:easy": SimpleNamespace(paths=[])}
    data = SimpleNamespace(test_splits=list(splits), split=splits.get)
    return SimpleNamespace(directory=tmp_path, data=data)


def test_three_pictures_of_the_first_test_split_are_explained(run, export_directory, image_files):
    (run.directory / "export").symlink_to(export_directory)
    found = demo_prediction(run)
    expected = predict(export_directory, [image_files[1], image_files[3], image_files[5]], explain=True)
    assert [p.path for p in found] == [p.path for p in expected]
    assert [p.label for p in found] == [p.label for p in expected]
    assert all(len(p.explanation.phrase_shares) == len(p.phrases) == 3 for p in found)


def test_a_run_without_an_export(run):
    with pytest.raises(cv.InputError, match="directory must hold an export"):
        demo_prediction(run)
