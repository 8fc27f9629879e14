"""From every kind of source to a metric, on a few pictures and with towers that only see colours."""

import json

import pytest
import tensorflow as tf

import ctxvision as cv
from ctxvision.classifier.run import Run
from ctxvision.cli import main
from tests.data import layouts
from tools.write_tfrecords import write_tfrecords

pytestmark = pytest.mark.slow

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
    """A SavedModel that maps pixels to their mean colour, without anything to learn."""

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


def towers(folder):
    return {
        f"{part}_{name}": value
        for part in ("visual", "phrase")
        for name, value in (("backbone", folder), ("pixels", "0..255"))
    }


def settings_of(folder, **settings):
    path = folder / "config.json"
    path.write_text(json.dumps({**SETTINGS, **settings}))
    return ["--config", str(path)]


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
    ],
    ids=["folder", "imagenet", "webvision", "open-images", "tfds", "records"],
)
def test_every_source_is_trained_from_the_command_line_to_a_metric(write, colours, tmp_path, capsys):
    source = write(tmp_path)
    several = source.startswith("open-images")
    settings = settings_of(tmp_path, multi_label=several, context_phrases=2, **towers(colours))
    assert main(["data", "check", source, *settings]) == 0
    assert capsys.readouterr().out.endswith("fit for training\n")
    assert main(["train", source, "--out", str(tmp_path / "run"), *settings]) == 0
    found = json.loads((tmp_path / "run" / "metrics.json").read_text())
    metric, least = ("map", 0.9) if several else ("top1", 0.8)
    values = {r["split"]: r["value"] for r in found if (r["metric"], r["method"]) == (metric, "visual_only")}
    run = Run(tmp_path / "run")
    assert len(values) == len(run.data.test_splits) and min(values.values()) > least
    assert any((r["metric"], r["method"]) == (metric, "multimodal") for r in found)
    assert len(run.context.phrase_table.phrases) >= 3
    if several:
        assert set(run.data.label_targets("train").ravel().tolist()) == {-1.0, 0.0, 1.0}


def test_captions_and_labels_from_the_command_line_to_a_report(colours, tmp_path, capsys):
    """One source gives phrases, the other gives labels."""
    sources = [
        layouts.write_captions(tmp_path / "captions"),
        str(layouts.write_manifest(tmp_path / "labelled")),
    ]
    settings = settings_of(tmp_path, **towers(colours))
    train = ["train", *sources, "--out", str(tmp_path / "run"), *settings]
    assert main(train) == 0
    found = json.loads((tmp_path / "run" / "metrics.json").read_text())
    values = [r["value"] for r in found if r["metric"] == "top1" and r["method"] == "multimodal"]
    assert values and min(values) > 0.6
    assert "red square" in list(cv.Run(tmp_path / "run").context.phrase_table.phrases)
    # The same data is the same run, and other data is refused.
    capsys.readouterr()
    assert main(train) == 0 and "visual/1: done before, kept" in capsys.readouterr().err
    assert main([*train[:2], sources[1], *train[4:]]) == 2
