import sys

import numpy as np
import pytest
import tensorflow as tf

from ctxvision.data import load_data
from ctxvision.errors import InputError
from tests.data.layouts import picture, write_tfds

tfds = pytest.importorskip("tensorflow_datasets")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_tfds(tmp_path_factory.mktemp("tfds"))


def test_splits_labels_and_pictures_as_they_are_stored(source):
    manifest = load_data(source)
    assert {name: len(manifest.split(name)) for name in manifest.splits} == {
        "web": 32,
        "train": 32,
        "val": 8,
        "test": 12,
    }
    train = manifest.split("train")
    assert train.absent is None and set(train.labels) == {
        (f"{colour} square",) for colour in ("red", "green", "blue", "yellow")
    }
    stored = dict(train.encoded())
    expected = {
        tf.io.decode_png(picture(colour, i, "PNG")).numpy().tobytes(): colour
        for colour in ("red", "green", "blue", "yellow")
        for i in range(8)
    }
    for row, encoded in stored.items():
        assert expected[tf.io.decode_png(encoded).numpy().tobytes()] == train.labels[row][0].split()[0]
    some = train.take([29, 3, 11])
    assert dict(some.encoded()) == {0: stored[29], 1: stored[3], 2: stored[11]}


def test_settings_name_the_features(source):
    manifest = load_data(f"{source}&image=image&label=title&queries=title")
    assert manifest.split("train").labels[0][0].startswith("A ")
    assert {query.text for row in manifest.split("web").queries for query in row} == {
        f"a {colour} square" for colour in ("red", "green", "blue", "yellow")
    }


def test_decoded_pictures_and_several_labels(tmp_path):
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)

    class TinyArrays(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            kinds = tfds.features.Sequence(tfds.features.ClassLabel(names=["x", "y", "z"]))
            tensor = tfds.features.Tensor(shape=(2, 3, 3), dtype=np.uint8)
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict({"pixels": tensor, "kinds": kinds})
            )

        def _split_generators(self, dl_manager):
            rows = [(i, {"pixels": pixels + i, "kinds": [0, 2]}) for i in range(3)]
            return {"train": iter(rows), "validation": iter(rows)}

        def _generate_examples(self):
            raise NotImplementedError

    TinyArrays(data_dir=tmp_path).download_and_prepare()
    manifest = load_data(f"tfds:tiny_arrays?data_dir={tmp_path}", "kinds")
    assert manifest.split("train").labels == [("x", "z")] * 3
    assert "val" not in manifest.splits and len(manifest.split("test")) == 3  # validation replaces test
    found = sorted(
        tf.io.decode_png(encoded).numpy()[0, 0, 0] for _, encoded in manifest.split("train").encoded()
    )
    assert found == [0, 1, 2]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda s: s + "&label=kind",
            "label must be a feature of tfds:tiny_colours, got 'kind': name one of image, label, title",
        ),
        (
            lambda s: s + "&colour=red",
            "tfds: must have settings of image, label, queries, data_dir, got 'colour'",
        ),
        (
            lambda s: s.replace("tiny_colours", "no_such_set_at_all"),
            "must name a data set of TensorFlow Datasets, got",
        ),
    ],
)
def test_bad_input(source, change, sentence):
    with pytest.raises(InputError, match=sentence):
        load_data(change(source))


def test_not_installed(source, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(InputError, match=r"needs tensorflow-datasets, .*: pip install 'ctxvision\[tfds\]'"):
        load_data(source)
