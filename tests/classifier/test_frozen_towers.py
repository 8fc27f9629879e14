"""SavedModels as backbones of both towers."""

import shutil

import numpy as np
import pytest
import tensorflow as tf

import ctxvision as cv
from ctxvision.classifier.fork import new_run
from ctxvision.classifier.run_folder import create_run
from ctxvision.classifier.visual import train_visual
from ctxvision.metrics.records import load_records, select
from ctxvision.training.progress import Progress
from tests.layer_checks import check_layer
from tests.tiny_data import tiny_settings


def save_tower(folder, scale=1.0):
    """Saves a tower that returns mean colours, times a variable, and their products for pixels in 0..1."""

    class Tower(tf.Module):
        def __init__(self):
            self.scale = tf.Variable(scale)

        @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], name="pixels")])
        def embed(self, pixels):
            mean = self.scale * tf.reduce_mean(pixels, axis=[1, 2])
            return {"features": tf.concat([mean, mean * tf.roll(mean, 1, axis=1)], axis=1)}

    module = Tower()
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.embed})
    return str(folder)


@pytest.fixture(scope="module")
def tower(tmp_path_factory):
    return save_tower(tmp_path_factory.mktemp("tower"))


@pytest.fixture
def settings(tower, tiny_data):
    towers = {"phrase_backbone": tower, "visual_backbone": tower}
    return {**tiny_settings(tiny_data), **towers, "phrase_pixels": "0..1", "visual_pixels": "0..1"}


def over_a_context(data, out, settings):
    """Makes a run with a context of these settings; its visual encoders are not trained."""
    config = cv.Config.from_dict(settings)
    context = cv.train_context(data, out / "context", config.context)
    return new_run(out, config, data, context)


def test_only_the_bottleneck_learns_from_features_computed_once(tiny_data, tmp_path, settings):
    run = over_a_context(tiny_data, tmp_path / "run", settings)
    train_visual(run, 1.0, Progress())
    losses = run.context.stages.curves()["generator"]["loss"]
    assert losses[-1] < 0.8 * losses[0]
    assert "visual/1" not in run.stages.curves()  # the visual encoder has nothing to learn
    pictures = run.data.pictures("train")
    means = pictures.mean(axis=(1, 2)) / 255
    features = run.visual_features("train", 1.0)
    np.testing.assert_allclose(features[:, :3], means, atol=1e-5)
    queries = run.query_embeddings("train")
    np.testing.assert_allclose(queries, run.context.phrase_generator(pictures), atol=1e-5)
    # Both towers share the SavedModel, although the context has a copy, so its features exist once.
    assert [path.name for path in (run.directory / "features").glob("backbone-*/*")] == ["train.npy"]


def test_a_context_includes_its_tower(tiny_data, tmp_path, settings):
    run = over_a_context(tiny_data, tmp_path / "run", settings)
    tower = run.context.directory / "generator" / "tower"
    assert run.context.phrase_generator.backbone == str(tower) != settings["phrase_backbone"]
    moved = tmp_path / "elsewhere"
    shutil.move(run.context.directory, moved)
    pictures = run.data.pictures("val")
    np.testing.assert_array_equal(
        cv.Context(moved).phrase_generator(pictures), run.context.phrase_generator(pictures)
    )
    shutil.rmtree(moved / "generator" / "tower")
    with pytest.raises(cv.InputError, match="must hold its tower, got no generator/tower: copy the whole"):
        _ = cv.Context(moved).phrase_generator


def test_a_tower_that_was_replaced_is_refused(tiny_data, tiny_run, tmp_path, settings):
    place = tmp_path / "tower"
    config = cv.Config.from_dict({**settings, "visual_backbone": save_tower(place)})
    run = new_run(tmp_path / "run", config, tiny_data, tiny_run.context)
    train_visual(run, 1.0, Progress())
    features = run.visual_features("val", 1.0)
    shutil.copytree(place, tmp_path / "before")
    save_tower(place, scale=2.0)
    again = cv.Run(run.directory, tiny_run.context.directory)
    with pytest.raises(
        cv.InputError, match="visual_backbone must be the SavedModel that run .* was trained with, got an"
    ):
        again.visual_encoder(1.0)
    shutil.rmtree(place)
    shutil.move(tmp_path / "before", place)
    np.testing.assert_allclose(again.visual_encoder(1.0)(run.data.pictures("val")), features, atol=1e-6)


@pytest.mark.slow
def test_a_frozen_encoder_is_measured_once_for_all_fractions(tiny_data, tmp_path, settings):
    few = {"fractions": [0.5, 1.0], "seeds": 1, "phrase_steps": 1, "text_steps": 1, "head_steps": 1}
    run = cv.train(tiny_data, tmp_path / "run", cv.Config.from_dict({**settings, **few}))
    records = select(load_records(run.directory / "metrics.json"), suite="table1")
    assert {record.fraction for record in records} == {1.0}
    assert {"visual_only", "web_features", "visual_web"} <= {record.method for record in records}
    # All methods share the features of the one SavedModel.
    assert len(list((run.directory / "features").glob("backbone-*"))) == 1


@pytest.mark.slow
def test_a_linear_layer_on_top_learns_the_labels(tiny_data, tmp_path, settings):
    changes = {"visual_dim": 8, "learning_rate": 0.03, "phrase_steps": 1, "text_steps": 1}
    run = over_a_context(tiny_data, tmp_path / "run", {**settings, **changes})
    train_visual(run, 1.0, Progress())
    losses = run.stages.curves()["visual/1"]["loss"]
    assert losses[-1] < 0.8 * losses[0]
    assert run.visual_features("train", 1.0).shape == (40, 8)


def test_a_layer_over_a_saved_model(tower):
    layer = cv.PhraseGenerator(tower, embedding_dim=4, image_size=8, pixels="0..1")
    check_layer(layer, tf.random.stateless_uniform([2, 10, 8, 3], [0, 1], 0, 255))


def test_a_run_keeps_the_absolute_path_and_refuses_bad_backbones(
    tiny_data, tmp_path, settings, tower, monkeypatch
):
    monkeypatch.chdir(tower)
    config = cv.Config.from_dict({**settings, "visual_backbone": "."})
    create_run(tmp_path / "run", config, tiny_data, tmp_path / "context", 16)
    assert cv.Run(tmp_path / "run").config.visual_backbone == tower
    for name, sentence in (
        ("/nowhere", "visual_backbone must be 'resnet_mini', .* got '/nowhere'"),
        ("mobilenet_v2", "visual_pixels must be None for a backbone given by name"),
    ):
        config = cv.Config.from_dict({**settings, "visual_backbone": name})
        with pytest.raises(cv.InputError, match=sentence):
            cv.train(tiny_data, tmp_path / "new", config)
        assert not (tmp_path / "new").exists()
