import pytest

from ctxvision.data import load_data
from ctxvision.data.training_check import refused_labels
from ctxvision.errors import InputError
from tests.data.layouts import LABELS, SYNSETS, write, write_webvision


def test_queries_labels_and_validation(tmp_path):
    manifest = load_data(write_webvision(tmp_path))
    web, train, test = (manifest.split(name) for name in ("web", "train", "test"))
    assert len(web) == len(train) == 2 * 4 * 6 and len(test) == 12
    for path, queries, labels in zip(web.paths, web.queries, train.labels):
        colour = list(SYNSETS)[int(path.split("/")[-2][1:]) - 1]
        first, *terms = (query.text for query in queries)
        assert first == f"{colour} bird photo" and labels == (LABELS[colour],)
        assert terms == SYNSETS[colour][1].split(", ")
    assert {path.split("/")[-3] for path in web.paths} == {"google", "flickr"}
    assert [labels[0] for labels in test.labels] == [LABELS[colour] for colour in SYNSETS for _ in range(3)]
    assert test.paths[0] == str(tmp_path / "val_images_256" / "val000001.jpg")
    assert not refused_labels(manifest)


def test_one_engine_alone(tmp_path):
    source = write_webvision(tmp_path)
    (tmp_path / "info" / "train_filelist_flickr.txt").unlink()
    assert len(load_data(source).split("web")) == 24


def test_bad_input(tmp_path):
    source = write_webvision(tmp_path)
    info = tmp_path / "info"
    write(info / "train_filelist_google.txt", "google/q0099/a.jpg 0\n")
    with pytest.raises(
        InputError, match="train_filelist_google.txt line 1 must name a picture in the folder of a query"
    ):
        load_data(source)
    write(info / "train_filelist_google.txt", "google/q0001/a.jpg 4\n")
    with pytest.raises(InputError, match="line 1 must hold a picture and a label number below 4, got"):
        load_data(source)
    (info / "synsets.txt").unlink()
    with pytest.raises(InputError, match="webvision: needs '.*synsets.txt', which does not exist"):
        load_data(source)
