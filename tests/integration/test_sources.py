"""`ctxvision train` from every kind of source to a metric, on a few pictures and with towers that only see colours."""

import json

import pytest
import tensorflow as tf

import ctxvision as cv
from ctxvision.cli import main
from tests.data import layouts
from tools.write_tfrecords import write_tfrecords

SETTINGS = {
    "image_size": 8,
    "phrase_steps": 30,
    "visual_steps": 30,
    "text_steps": 5,
    "head_steps": 60,
    "batch_size": 8,
    "text_batch_size": 8,
    "min_class_count": 2,
    "fractions": [1.0],
    "seeds": 1,
}


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    """A SavedModel that maps pixels to their mean colour: its training costs nothing."""

    class MeanColour(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32)])
        def __call__(self, pixels):
            return tf.reduce_mean(pixels, axis=[1, 2]) / 64.0 - 2.0

    folder = tmp_path_factory.mktemp("towers") / "mean"
    tf.saved_model.save(MeanColour(), str(folder))
    return str(folder)


def records(root):
    write_tfrecords([layouts.write_webvision(root / "webvision")], str(root / "records"))
    return f"records:{root}/records/*.tfrecord"


@pytest.mark.filterwarnings("ignore:.*has no queries", "ignore:1 pictures of Open Images")
@pytest.mark.parametrize(
    "write",
    [
        layouts.write_image_folder,
        layouts.write_imagenet,
        layouts.write_webvision,
        layouts.write_open_images,
        layouts.write_tfds,
        records,
        lambda root: [
            layouts.write_captions(root / "captions"),
            str(layouts.write_manifest(root / "labelled")),
        ],
    ],
    ids=["folder", "imagenet", "webvision", "open-images", "tfds", "records", "captions-and-manifest"],
)
def test_from_the_command_line_to_a_metric(write, colours, tmp_path, capsys):
    source = write(tmp_path)
    sources = [source] if isinstance(source, str) else source
    verified = sources[0].startswith("open-images")
    (tmp_path / "config.json").write_text(
        json.dumps(
            {**SETTINGS, "visual_backbone": colours, "phrase_backbone": colours, "multi_label": verified}
        )
    )
    settings = ["--config", str(tmp_path / "config.json")]
    assert main(["data", "check", *sources, *settings]) == 0
    assert capsys.readouterr().out.endswith("fit for training\n")
    train = ["train", "--data", *sources, "--out", str(tmp_path / "run"), *settings]
    assert main(train) == 0
    run = cv.Run(tmp_path / "run")
    metric = "map" if verified else "top1"
    found = json.loads((run.directory / "metrics.json").read_text())
    values = [r["value"] for r in found if r["metric"] == metric and r["method"] == "multimodal"]
    assert values and min(values) > 0.6
    # The same data again is the same run; the finished stages are kept.
    assert main(train) == 0 and "visual/1: done before, kept" in capsys.readouterr().err
    if verified:
        targets = run.data.label_targets("train")
        assert {float(value) for value in set(targets.ravel().tolist())} == {-1.0, 0.0, 1.0}
