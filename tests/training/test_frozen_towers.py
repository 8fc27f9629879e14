"""SavedModels as backbones of both towers."""

import numpy as np
import pytest
import tensorflow as tf

import ctxvision as cv
from ctxvision.training import Progress
from ctxvision.training.phrases import train_phrases
from ctxvision.training.visual import train_visual
from tests.layer_checks import check_layer
from tests.tiny_data import SETTINGS


@pytest.fixture(scope="module")
def tower(tmp_path_factory):
    """Mean colours and their products, of pixels in 0..1."""

    class Tower(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], name="pixels")])
        def embed(self, pixels):
            mean = tf.reduce_mean(pixels, axis=[1, 2])
            return {"features": tf.concat([mean, mean * tf.roll(mean, 1, axis=1)], axis=1)}

    folder = tmp_path_factory.mktemp("tower")
    module = Tower()
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.embed})
    return str(folder)


@pytest.fixture
def settings(tower):
    towers = {"phrase_backbone": tower, "visual_backbone": tower}
    return {**SETTINGS, **towers, "phrase_pixels": "0..1", "visual_pixels": "0..1"}


def test_only_the_bottleneck_learns_from_features_computed_once(tiny_data, tmp_path, settings):
    run = cv.Run.create(tmp_path / "run", cv.Config.from_dict(settings), tiny_data)
    train_visual(run, 1.0, Progress())
    train_phrases(run, Progress())
    losses = run.curves()["phrases"]["loss"]
    assert losses[-1] < 0.8 * losses[0]
    assert run.curves().keys() == {"phrases"}  # nothing is left to learn of the visual encoder
    pictures = run.data.pictures("web")
    means = pictures.mean(axis=(1, 2)) / 255
    features = run.visual_features("web", 1.0)
    np.testing.assert_allclose(features[:, :3], means, atol=1e-5)
    np.testing.assert_allclose(run.query_embeddings("web"), run.phrase_generator(pictures), atol=1e-5)
    # Both towers stand on one: its features of `web` are there once.
    assert [path.name for path in (run.directory / "features").glob("backbone-*/*")] == ["web.npy"]


def test_a_mapping_on_top_learns_the_labels(tiny_data, tmp_path, settings):
    config = cv.Config.from_dict({**settings, "visual_dim": 8, "learning_rate": 0.03})
    run = cv.Run.create(tmp_path / "run", config, tiny_data)
    train_visual(run, 1.0, Progress())
    losses = run.curves()["visual/1"]["loss"]
    assert losses[-1] < 0.8 * losses[0]
    assert run.visual_features("train", 1.0).shape == (40, 8)


def test_a_layer_over_a_saved_model(tower):
    layer = cv.PhraseGenerator(tower, embedding_dim=4, image_size=8, pixels="0..1")
    check_layer(layer, tf.random.stateless_uniform([2, 10, 8, 3], [0, 1], 0, 255))


def test_a_run_keeps_the_absolute_path_and_refuses_what_is_none(
    tiny_data, tmp_path, settings, tower, monkeypatch
):
    monkeypatch.chdir(tower)
    config = cv.Config.from_dict({**settings, "visual_backbone": "."})
    assert cv.Run.create(tmp_path / "run", config, tiny_data).config.visual_backbone == tower
    for name, sentence in (
        ("/nowhere", "visual_backbone must be 'resnet_mini', .* got '/nowhere'"),
        ("mobilenet_v2", "visual_pixels must be left out for a backbone given by name"),
    ):
        with pytest.raises(cv.InputError, match=sentence):
            cv.Run.create(
                tmp_path / "new", cv.Config.from_dict({**settings, "visual_backbone": name}), tiny_data
            )
        assert not (tmp_path / "new").exists()
