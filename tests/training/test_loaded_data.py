"""The data of a run: pictures in memory or in mapped files, targets, and the facts about the data."""

import shutil

import numpy as np
import pytest
from PIL import Image

from ctxvision.data.split import Split
from ctxvision.training.data_facts import data_facts, located
from ctxvision.training.loaded_data import LoadedData
from tests.data.layouts import write_image_folder
from tests.tiny_data import write_tiny_data


def test_large_splits_are_mapped_files_that_are_written_once(tmp_path, monkeypatch):
    folder = write_tiny_data(tmp_path / "data", web=200, labelled=24, test=4)
    (folder / "images" / "web-7.png").write_bytes(b"no picture")
    with pytest.warns(UserWarning, match="1 of 200 pictures of split 'web'"):
        expected = LoadedData(folder, 8)
        names = ("web", "train", "val", "test:easy")
        pictures = {name: expected.pictures(name) for name in names}
    assert not any(isinstance(one, np.memmap) for one in pictures.values())
    monkeypatch.setattr("ctxvision.training.picture_arrays.MOST_IN_MEMORY", 0)
    for _ in range(2):
        with pytest.warns(UserWarning, match="1 of 200 pictures of split 'web'"):
            data = LoadedData(folder, 8, folder=tmp_path / "kept")
            for name in names:
                assert isinstance(data.pictures(name), np.memmap)
                np.testing.assert_array_equal(data.pictures(name), pictures[name])
                assert data.split(name).paths == expected.split(name).paths
        shutil.rmtree(folder / "images", ignore_errors=True)  # the second pass must not read them
    assert not list((tmp_path / "kept").glob(".*"))


def test_pictures_of_two_splits_are_decoded_once(tmp_path):
    data = LoadedData(write_image_folder(tmp_path), 8)
    assert data.pictures("web") is data.pictures("train")


def test_unknown_targets_are_marked(tmp_path):
    folder = write_tiny_data(tmp_path / "data", web=8, labelled=8, test=4)
    data = LoadedData(folder, 8, multi_label=True)
    split = data.split("train")
    known = [("red label",), *[()] * (len(split) - 1)]
    verified = Split("train", split.paths, split.labels, split.queries, known)
    data._loaded["train"] = verified, data.pictures("train")
    targets = data.label_targets("train")
    for row, (labels, absent) in enumerate(zip(split.labels, known)):
        expected = [1 if name in labels else 0 if name in absent else -1 for name in data.labels]
        assert targets[row].tolist() == expected


def test_the_query_log_counts_queries_and_names_pairs(tiny_data):
    log = LoadedData(tiny_data, 48).query_log
    assert log.phrases[:3] == ["amarillo", "azul", "blue square"] and set(log.counts) == {24}
    assert log.languages[log.phrases.index("rojo")] == "es"
    rows = LoadedData(tiny_data, 48).split("web").queries
    pairs = [(i, query.text) for i, row in enumerate(rows) for query in row]
    assert [(i, log.phrases[q]) for i, q in zip(log.pair_picture, log.pair_query)] == pairs


def test_facts_of_the_data(tiny_data, tmp_path):
    source = write_image_folder(tmp_path / "birds")
    facts = data_facts(source, tmp_path / "run", "label")
    assert facts["name"] == "birds" and facts["folder"] == f"folder:{tmp_path}/birds"
    assert located(facts["folder"], tmp_path / "run") == facts["folder"]
    assert data_facts(source, tmp_path / "other", "label") == facts
    (tmp_path / "birds" / "train" / "red_square" / "0.jpg").unlink()
    assert data_facts(source, tmp_path / "run", "label")["sha256"] != facts["sha256"]
    both = data_facts([source, str(tiny_data)], tmp_path / "run", "label")
    assert both["name"] == f"birds+{tiny_data.name}" and both["folder"] == [source, str(tiny_data)]
    inside = data_facts(tiny_data, tiny_data.parent, "label")
    assert inside["folder"] == tiny_data.name
    assert located(tiny_data.name, tiny_data.parent) == str(tiny_data)


def test_copies_of_a_picture_stay_in_one_of_train_and_val(tmp_path):
    for label in ("cat", "dog"):
        for number in range(40):
            pixels = np.full((8, 8, 3), 100 * (label == "dog") + number // 4, np.uint8)  # four copies of each
            place = tmp_path / label / f"{number}.png"
            place.parent.mkdir(exist_ok=True)
            Image.fromarray(pixels).save(place)
    data = LoadedData(f"folder:{tmp_path}", 8)
    train, val = ({picture.tobytes() for picture in data.pictures(split)} for split in ("train", "val"))
    assert val and not train & val and len(data.split("train")) + len(data.split("val")) == 80


def test_split_names_that_differ_in_punctuation_have_different_files(tmp_path, monkeypatch):
    monkeypatch.setattr("ctxvision.training.picture_arrays.MOST_IN_MEMORY", 0)
    rows = [
        f"{split}.png,{split},{label},"
        for split, label in (("train", "a"), ("test:a:b", "a"), ("test:a-b", "a"))
    ]
    for number, split in enumerate(("train", "test:a:b", "test:a-b")):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / f"{split}.png")
    (tmp_path / "images.csv").write_text("\n".join(["image,split,label,queries", *rows]))
    data = LoadedData(tmp_path, 8, folder=tmp_path / "kept")
    found = [data.pictures(split)[0, 0, 0, 0] for split in ("test:a:b", "test:a-b")]
    assert found == [1, 2]
