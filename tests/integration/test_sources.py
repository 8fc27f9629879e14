"""From every kind of source to a metric, on a few pictures and with towers that only see colours."""

import json

import pytest
import tensorflow as tf

import ctxvision as cv
from ctxvision.cli import main
from ctxvision.metrics import mean_average_precision, top_k_accuracy
from ctxvision.training import Progress, Run
from ctxvision.training.head import probabilities_of, train_head
from ctxvision.training.visual import train_visual
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
    """A SavedModel that maps pixels to their mean colour: nothing of it has to learn."""

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
def test_a_head_learns_from_every_source(write, colours, tmp_path, capsys):
    """What `ctxvision train` begins with, and a head on top of it; the last test trains all of it."""
    source = write(tmp_path)
    several = source.startswith("open-images")
    settings = {"visual_backbone": colours, "phrase_backbone": colours, "multi_label": several}
    assert main(["data", "check", source, *settings_of(tmp_path, **settings)]) == 0
    assert capsys.readouterr().out.endswith("fit for training\n")
    run = Run.create(tmp_path / "run", cv.Config.from_dict({**SETTINGS, **settings}), source)
    train_visual(run, 1.0, Progress())
    data = Run(tmp_path / "run").data  # as a later command finds it
    targets = data.label_targets("train")
    features = {name: [run.visual_features(name, 1.0)] for name in ("train", *data.test_splits)}
    head = train_head(features["train"], targets, len(data.labels), 60, 0)
    for split in data.test_splits:
        probabilities, truth = probabilities_of(head, features[split]), data.label_targets(split)
        if several:
            assert mean_average_precision(probabilities, truth) > 0.9
        else:
            assert top_k_accuracy(probabilities, truth, 1) > 0.8
    assert len(data.query_log.phrases) >= 3
    if several:
        assert set(targets.ravel().tolist()) == {-1.0, 0.0, 1.0}


def test_captions_and_labels_from_the_command_line_to_a_report(colours, tmp_path, capsys):
    """Two sources: phrases from the one, labels from the other."""
    sources = [
        layouts.write_captions(tmp_path / "captions"),
        str(layouts.write_manifest(tmp_path / "labelled")),
    ]
    settings = settings_of(tmp_path, visual_backbone=colours, phrase_backbone=colours)
    train = ["train", "--data", *sources, "--out", str(tmp_path / "run"), *settings]
    assert main(train) == 0
    found = json.loads((tmp_path / "run" / "metrics.json").read_text())
    values = [r["value"] for r in found if r["metric"] == "top1" and r["method"] == "multimodal"]
    assert values and min(values) > 0.6
    assert "red square" in list(cv.Run(tmp_path / "run").phrase_table.phrases)
    # The same data again is the same run; other data is not.
    capsys.readouterr()
    assert main(train) == 0 and "visual/1: done before, kept" in capsys.readouterr().err
    assert main([*train[:2], sources[1], *train[4:]]) == 2
