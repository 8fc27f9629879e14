import pytest

from ctxvision.data import load_data
from ctxvision.errors import InputError
from tests.data.layouts import picture, write, write_image_folder


@pytest.mark.filterwarnings("ignore:.*has no queries")
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


def test_labels_words_stand_in_for_queries_with_a_warning(tmp_path):
    with pytest.warns(
        UserWarning, match="folder:.* has no queries: phrases are learnt from its labels' words"
    ):
        manifest = load_data(write_image_folder(tmp_path))
    assert manifest.split("web").paths is manifest.split("train").paths  # decoded once


def test_bad_input(tmp_path):
    with pytest.raises(InputError, match="folder: must name a folder, got '/nowhere'"):
        load_data("folder:/nowhere")
    write(tmp_path / "cats" / "1.jpg", picture("red", 0))
    with pytest.raises(InputError, match="pictures in split/label/picture, got .* which has cats"):
        load_data(f"folder:{tmp_path}")
    with pytest.raises(InputError, match="label_column must be 'label' for folder:, got 'colour'"):
        load_data(f"folder:{tmp_path}", "colour")
