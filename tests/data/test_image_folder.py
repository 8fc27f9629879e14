import json
import os

import pytest

from ctxvision.data import check_data, load_data
from ctxvision.errors import InputError
from tests.data.layouts import picture, write, write_image_folder


def test_splits_and_labels_are_the_folders(tmp_path):
    source = write_image_folder(tmp_path)
    write(tmp_path / "train" / "red_square" / "deeper" / "z.PNG", picture("red", 70, "PNG"))
    write(tmp_path / "labels.json", '{"red square": {"synset_terms": ["tomato", "ripe fruit"]}}')
    manifest = load_data(source)
    assert set(manifest.splits) == {"web", "train", "val", "test:new"}
    train = manifest.split("train")
    assert len(train) == 33 and str(tmp_path / "train/red_square/deeper/z.PNG") in train.paths
    for path, labels in zip(train.paths, train.labels):
        assert labels == (path.removeprefix(str(tmp_path)).split("/")[2].replace("_", " "),)
    assert len(manifest.split("val")) == 8 and len(manifest.split("test:new")) == 12
    by_label = {row[0]: queries for row, queries in zip(train.labels, manifest.split("web").queries)}
    assert [query.text for query in by_label["red square"]] == ["tomato", "ripe fruit"]
    assert [query.text for query in by_label["blue square"]] == ["blue square", "blue", "square"]


def test_label_folders_without_split_folders_are_train(tmp_path):
    for label in ("cat", "dog"):
        write(tmp_path / label / "1.jpg", picture("red", 0))
    (tmp_path / "empty").mkdir()
    manifest = load_data(f"folder:{tmp_path}")
    assert manifest.split("train").labels == [("cat",), ("dog",)] and not manifest.left_out


def test_a_folder_with_an_invisible_name_is_no_label(tmp_path):
    for label in ("cat", "_", "\u200b"):
        write(tmp_path / label / "1.jpg", picture("red", 0))
    manifest = load_data(f"folder:{tmp_path}")
    assert manifest.split("train").labels == [("_",), ("cat",)]
    assert manifest.left_out == {"folders with an invisible name": 1}


def test_words_too_long_for_a_phrase_are_no_queries(tmp_path):
    write(tmp_path / "cat" / "1.jpg", picture("red", 0))
    write(tmp_path / "labels.json", json.dumps({"cat": {"synset_terms": ["x" * 1001, "feline"]}}))
    ((query,),) = load_data(f"folder:{tmp_path}").split("web").queries
    assert query.text == "feline"


def test_words_of_labels_replace_missing_queries(tmp_path):
    manifest = load_data(write_image_folder(tmp_path))
    assert manifest.words_for_queries
    (told,) = (one for one in check_data(manifest).problems if "has no queries" in one)
    assert "phrases are learnt from the words of its labels and add no information" in told
    assert manifest.split("web").paths is manifest.split("train").paths  # decoded once


def test_a_folder_whose_name_is_not_utf8_is_refused(tmp_path):
    place = tmp_path / os.fsdecode(b"caf\xe9")
    write(place / "cat" / "1.jpg", picture("red", 0))
    with pytest.raises(InputError, match=r"data must have a path in UTF-8, got .*caf.udce9': rename"):
        load_data(f"folder:{place}")


def test_bad_input(tmp_path):
    with pytest.raises(InputError, match="folder: must name a folder, got '/nowhere'"):
        load_data("folder:/nowhere")
    (tmp_path / "train").mkdir()
    with pytest.raises(
        InputError, match="pictures in label/picture or split/label/picture, got .* which has train"
    ):
        load_data(f"folder:{tmp_path}")
    with pytest.raises(InputError, match="label_column must be 'label' for folder:, got 'colour'"):
        load_data(f"folder:{tmp_path}", "colour")
