import json

import pytest

from ctxvision.data import load_data
from ctxvision.data.training_check import refused_labels
from ctxvision.errors import InputError
from tests.data.layouts import picture, write, write_open_images

pytestmark = pytest.mark.filterwarnings("ignore:1 pictures of Open Images")


@pytest.mark.parametrize("version", [4, 6, 7])
def test_present_absent_and_unknown_labels(tmp_path, version):
    manifest = load_data(write_open_images(tmp_path, version))
    assert {name: len(manifest.split(name)) for name in manifest.splits} == {
        "web": 48,
        "train": 48,
        "val": 16,
        "test": 16,
    }
    train = manifest.split("train")
    red, green = train.labels.index(("Red", "Warm colour")), train.labels.index(("Green",))
    assert train.absent[red] == ("Green",) and train.absent[green] == ("Blue",)
    assert [query.text for query in train.queries[red]] == ["red", "warm colour"]
    assert manifest.split("test").queries[0] == ()
    assert not refused_labels(manifest, multi_label=True)


def test_present_labels_add_classes_above_and_absent_labels_classes_below(tmp_path):
    names = {"/m/0": "Animal", "/m/1": "Bird", "/m/2": "Duck", "/m/3": "Beak", "/m/4": "Goose"}
    write(tmp_path / "class-descriptions.csv", "".join(f"{k},{v}\n" for k, v in names.items()))
    bird = {"LabelName": "/m/1", "Subcategory": [{"LabelName": "/m/2"}, {"LabelName": "/m/4"}]}
    bird["Part"] = [{"LabelName": "/m/3"}]
    root = {"LabelName": "/m/0bl9f", "Subcategory": [{"LabelName": "/m/0", "Subcategory": [bird]}]}
    write(tmp_path / "bbox_labels_600_hierarchy.json", json.dumps(root))
    rows = ["a,v,/m/2,1", "b,v,/m/1,0", "c,v,/m/4,1", "c,v,/m/1,0", "d,v,/m/3,1", "a,v,/m/3,0"]
    write(
        tmp_path / "train-annotations-human-imagelabels.csv",
        "ImageID,Source,LabelName,Confidence\n" + "\n".join(rows),
    )
    for name in "abcd":
        write(tmp_path / "train" / f"{name}.jpg", picture("red", ord(name)))
    train = load_data(f"open-images:{tmp_path}").split("train")
    found = {
        path[-5]: (set(there), set(gone))
        for path, there, gone in zip(train.paths, train.labels, train.absent)
    }
    assert found == {
        "a": ({"Duck", "Bird", "Animal"}, {"Beak"}),
        "b": (set(), {"Bird", "Duck", "Goose"}),
        "c": ({"Goose", "Bird", "Animal"}, {"Duck"}),  # present wins over absent
        "d": ({"Beak"}, set()),
    }


def test_missing_pictures_are_left_out_with_a_warning(tmp_path):
    with pytest.warns(UserWarning, match="1 pictures of Open Images' train have labels but no file"):
        load_data(write_open_images(tmp_path))


def test_bad_input(tmp_path):
    source = write_open_images(tmp_path)
    rows = tmp_path / "oidv7-train-annotations-human-imagelabels.csv"
    rows.write_text(rows.read_text() + "0,verification,/m/unknown,1\n")
    with pytest.raises(
        InputError, match="class-descriptions.csv must name every class, got none for '/m/unknown'"
    ):
        load_data(source)
    rows.write_text("ImageID,LabelName\n")
    with pytest.raises(InputError, match="must have a column 'Confidence'"):
        load_data(source)
    rows.unlink()
    with pytest.raises(
        InputError, match="open-images: needs train-annotations-human-imagelabels.csv and pictures"
    ):
        load_data(source)
    (tmp_path / "oidv7-class-descriptions.csv").unlink()
    with pytest.raises(InputError, match="open-images: needs class-descriptions.csv"):
        load_data(source)
