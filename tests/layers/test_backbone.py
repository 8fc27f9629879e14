import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from ctxvision.layers import PhraseGenerator, VisualEncoder, build_backbone
from tests.layer_checks import check_layer


def test_resnet_mini_is_small():
    model = build_backbone("resnet_mini")
    assert model.input_shape == (None, 48, 48, 3) and model.output_shape == (None, 128)
    assert 250_000 < model.count_params() < 350_000


@pytest.mark.parametrize("name", ["mobilenet_v2", "MobileNetV2", "mobilenet-v2"])
def test_an_application_in_any_spelling(name):
    assert build_backbone(name, 32).output_shape == (None, 1280)


def test_an_application_gets_the_pixel_scale_of_its_authors():
    model = build_backbone("mobilenet_v2", 32)
    pixels = np.full((1, 32, 32, 3), 255.0, np.float32)
    np.testing.assert_allclose(model.layers[1](pixels), np.ones_like(pixels))


def test_a_keras_models_feature_map_is_averaged():
    pixels = keras.Input((4, 4, 3))
    features = build_backbone(keras.Model(pixels, keras.layers.Rescaling(2.0)(pixels)))
    values = np.arange(48, dtype=np.float32).reshape(1, 4, 4, 3)
    np.testing.assert_allclose(features(values), 2.0 * values.mean(axis=(1, 2)))


def test_a_saved_model_folder(tmp_path):
    class Tower(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], name="pixels")])
        def embed(self, pixels):
            return {"features": tf.reduce_max(pixels, axis=[1, 2])}

    tower = Tower()
    tf.saved_model.save(tower, str(tmp_path), signatures={"serving_default": tower.embed})
    layer = VisualEncoder(str(tmp_path), image_size=8, pixels="0..255")
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(layer(pixels), pixels.max(axis=(1, 2)), rtol=1e-6)
    assert layer.trainable_variables == []


def test_unknown_backbone():
    with pytest.raises(ValueError, match="backbone must be 'resnet_mini', .* got 'resnet_huge'"):
        build_backbone("resnet_huge")


def test_an_output_of_another_rank():
    pixels = keras.Input((4, 4, 3))
    with pytest.raises(
        ValueError, match=r"backbone must have one output of shape \[B, D\] or \[B, H, W, D\]"
    ):
        build_backbone(keras.Model(pixels, [pixels, pixels]))


@pytest.mark.parametrize("layer_type", [PhraseGenerator, VisualEncoder])
def test_layer_contract(layer_type):
    check_layer(
        layer_type("resnet_mini", image_size=16), tf.random.stateless_uniform([2, 20, 24, 3], [0, 1], 0, 255)
    )


@pytest.mark.parametrize("layer_type", [PhraseGenerator, VisualEncoder])
def test_uint8_and_float_pixels_of_any_size(layer_type):
    layer = layer_type("resnet_mini", image_size=16)
    pixels = tf.cast(tf.random.stateless_uniform([2, 30, 20, 3], [0, 1], 0, 255), tf.uint8)
    np.testing.assert_allclose(layer(pixels), layer(tf.cast(pixels, tf.float32)), atol=1e-6)


@pytest.mark.parametrize("layer_type", [PhraseGenerator, VisualEncoder])
def test_wrong_pixels(layer_type):
    layer = layer_type("resnet_mini", image_size=16)
    with pytest.raises(ValueError, match=r"pixels must have shape \[B, H, W, 3\], got \(16, 16, 3\)"):
        layer(tf.zeros([16, 16, 3]))
    with pytest.raises(ValueError, match="pixels must be uint8 or float in 0..255, got dtype int64"):
        layer(tf.zeros([1, 16, 16, 3], tf.int64))


def test_phrase_generator_gives_unit_rows_and_spreads_them():
    layer = PhraseGenerator("resnet_mini", image_size=16)
    pixels = tf.random.stateless_uniform([64, 16, 16, 3], [0, 1], 0, 255)
    for _ in range(60):
        layer(pixels, training=True)
    embeddings = layer(pixels).numpy()
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1.0, atol=1e-5)
    cosines = (embeddings @ embeddings.T)[np.triu_indices(64, 1)]
    assert abs(cosines.mean()) < 0.1


def test_embedding_dim_below_one():
    with pytest.raises(ValueError, match="embedding_dim must be at least 1, got 0"):
        PhraseGenerator("resnet_mini", embedding_dim=0)


def test_a_keras_model_is_restored_from_the_config():
    pixels = keras.Input((8, 8, 3))
    layer = PhraseGenerator(keras.Model(pixels, keras.layers.Conv2D(4, 3)(pixels)), embedding_dim=3)
    again = PhraseGenerator.from_config(layer.get_config())
    assert again(tf.zeros([1, 8, 8, 3])).shape == (1, 3)


def save_tower(folder, size=None):
    """Exports a SavedModel that returns each picture's mean colour and the pixel at (0, 0)."""

    class Tower(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, size, size, 3], name="pixels")])
        def embed(self, pixels):
            return {"features": tf.concat([tf.reduce_mean(pixels, axis=[1, 2]), pixels[:, 0, 0]], axis=1)}

    tower = Tower()
    tf.saved_model.save(tower, str(folder), signatures={"serving_default": tower.embed})
    return str(folder)


def test_a_saved_model_of_a_fixed_size_resizes_inside(tmp_path):
    layer = VisualEncoder(save_tower(tmp_path, size=4), image_size=8, pixels="0..255")
    pixels = np.full((2, 8, 8, 3), 7.0, np.float32)
    np.testing.assert_allclose(layer(pixels), np.full((2, 6), 7.0), rtol=1e-5)


@pytest.mark.parametrize(
    ("pixels", "black", "white"),
    [
        ("0..255", [0.0] * 3, [255.0] * 3),
        ("0..1", [0.0] * 3, [1.0] * 3),
        ("-1..1", [-1.0] * 3, [1.0] * 3),
        ("imagenet", [-2.118, -2.036, -1.804], [2.249, 2.429, 2.640]),
        ("clip", [-1.792, -1.752, -1.480], [1.930, 2.075, 2.146]),
    ],
)
def test_a_saved_model_gets_its_pixel_scale(tmp_path, pixels, black, white):
    layer = VisualEncoder(save_tower(tmp_path), image_size=8, pixels=pixels)
    shown = np.stack([np.zeros((8, 8, 3)), np.full((8, 8, 3), 255.0)])
    np.testing.assert_allclose(layer(shown), np.array([black * 2, white * 2]), atol=1e-3)


def test_pixels_must_be_none_for_a_name():
    with pytest.raises(ValueError, match="pixels must be None for a backbone given by name"):
        build_backbone("resnet_mini", pixels="0..1")
    with pytest.raises(
        ValueError, match="pixels must be one of 0..255, 0..1, -1..1, imagenet, clip, got '8bit'"
    ):
        build_backbone("resnet_mini", pixels="8bit")


def test_a_keras_file_has_weights_and_is_trainable(tmp_path):
    pixels = keras.Input((6, 6, 3))
    model = keras.Model(pixels, keras.layers.Conv2D(5, 3)(pixels))
    model.save(tmp_path / "tower.keras")
    layer = VisualEncoder(str(tmp_path / "tower.keras"))
    values = tf.random.stateless_uniform([2, 6, 6, 3], [0, 1], 0, 255)
    np.testing.assert_allclose(layer(values), tf.reduce_mean(model(values), axis=[1, 2]), rtol=1e-5)
    assert len(layer.trainable_weights) == 2


def test_a_saved_model_with_channels_first(tmp_path):
    class Tower(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 3, 8, 8], name="pixels")])
        def embed(self, pixels):
            return {"features": tf.reduce_mean(pixels, axis=[2, 3])}

    tower = Tower()
    tf.saved_model.save(tower, str(tmp_path), signatures={"serving_default": tower.embed})
    with pytest.raises(ValueError, match=r"SavedModel of pixels \[B, H, W, 3\], got \(None, 3, 8, 8\)"):
        VisualEncoder(str(tmp_path), pixels="0..255")


def test_a_mapping_on_top():
    encoder = VisualEncoder("resnet_mini", image_size=16, dim=5)
    pixels = tf.random.stateless_uniform([2, 16, 16, 3], [0, 1], 0, 255)
    found = encoder(pixels)
    kernel, bias = encoder.mapping.get_weights()
    features = VisualEncoder(encoder.tower)(pixels)
    np.testing.assert_allclose(found, features @ kernel + bias, atol=1e-5)
    with pytest.raises(ValueError, match="dim must be at least 1, or None for no mapping, got 0"):
        VisualEncoder("resnet_mini", dim=0)


@pytest.mark.parametrize("layer_type", [PhraseGenerator, VisualEncoder])
def test_precomputed_features_replace_pixels(layer_type):
    layer = layer_type("resnet_mini", image_size=16)
    pixels = tf.random.stateless_uniform([2, 16, 16, 3], [0, 1], 0, 255)
    np.testing.assert_allclose(layer(layer.tower(pixels)), layer(pixels), atol=1e-6)
    with pytest.raises(ValueError, match=r"features must have the backbone's shape \[B, 128\], got \(2, 7\)"):
        layer(tf.zeros([2, 7]))


def test_an_unreadable_keras_file(tmp_path):
    (tmp_path / "tower.keras").write_bytes(b"PK no model")
    with pytest.raises(
        ValueError, match="backbone must be a .keras file that tf_keras .* reads, got .*tower.keras"
    ):
        build_backbone(str(tmp_path / "tower.keras"))
