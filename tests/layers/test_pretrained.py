import errno
import itertools
import os

import numpy as np
import pytest
import tf_keras as keras

from ctxvision.layers import VisualEncoder, build_backbone
from ctxvision.layers.backbone import image_size_of
from ctxvision.layers.pretrained import licence_of

# One network per family, with its smallest picture size. ConvNeXt comes first, because Keras 2 cannot read back its
# `.keras` file.
FAMILIES = {
    "convnext_tiny": 32,
    "densenet121": 32,
    "efficientnet_b0": 32,
    "efficientnet_v2_b0": 32,
    "inception_resnet_v2": 75,
    "inception_v3": 75,
    "mobilenet_v3_small": 32,
    "nasnet_mobile": 32,
    "regnet_x002": 32,
    "resnet50": 32,
    "resnet50_v2": 32,
    "resnet_rs50": 32,
    "vgg16": 32,
    "xception": 71,
}
SUFFIXES = (".h5", ".weights.h5", ".keras")


def go_offline(monkeypatch):
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    # urllib keeps an opener for the process, made with other proxies; the one made here must not stay.
    monkeypatch.setattr("urllib.request._opener", None)


def pixels_of(size):
    return np.random.default_rng(0).uniform(0, 255, (2, size, size, 3)).astype(np.float32)


def network_of(backbone):
    return next((layer for layer in backbone.layers if isinstance(layer, keras.Model)), backbone)


def save(network, path):
    (network.save if path.suffix == ".keras" else network.save_weights)(path)
    return str(path)


def check_same_features(name, size, folder, suffixes):
    trained = build_backbone(name, size)
    pixels = pixels_of(size)
    for suffix in suffixes:
        path = save(network_of(trained), folder / f"weights{suffix}")
        again = build_backbone(name, size, weights=path)
        np.testing.assert_allclose(again(pixels), trained(pixels), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["resnet_mini", "mobilenet"])
def test_weights_from_a_file_give_the_same_features(tmp_path, name):
    check_same_features(name, 32, tmp_path, SUFFIXES)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "suffix"), list(zip(FAMILIES, itertools.cycle(SUFFIXES))))
def test_weights_from_a_file_in_each_family(tmp_path, name, suffix):
    check_same_features(name, FAMILIES[name], tmp_path, [suffix])


def test_the_first_layers_of_a_classifier_are_used(tmp_path):
    trained = build_backbone("resnet_mini", 16)
    classifier = keras.Sequential([trained, keras.layers.Dense(7)])
    classifier.save(tmp_path / "classifier.keras")
    again = build_backbone("resnet_mini", 16, weights=tmp_path / "classifier.keras")
    np.testing.assert_allclose(again(pixels_of(16)), trained(pixels_of(16)), rtol=1e-5)


def test_weights_of_another_network_are_refused(tmp_path):
    other = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Conv2D(4, 3)])
    for suffix in SUFFIXES:
        path = save(other, tmp_path / f"other{suffix}")
        with pytest.raises(
            ValueError, match="weights must be those of 'resnet_mini' without .* saved from the same network"
        ):
            build_backbone("resnet_mini", 16, weights=path)
    (tmp_path / "text.h5").write_text("no weights")
    with pytest.raises(ValueError, match="weights must be those of 'resnet_mini'"):
        build_backbone("resnet_mini", 16, weights=tmp_path / "text.h5")


def test_wider_weights_of_the_same_layers_are_refused(tmp_path):
    small, large = (
        keras.applications.MobileNet((32, 32, 3), a, weights=None, include_top=False) for a in (0.25, 0.5)
    )
    assert len(small.layers) == len(large.layers)
    with pytest.raises(ValueError, match="weights must be those of 'mobilenet_1.00_32'"):
        build_backbone("mobilenet", 32, weights=save(large, tmp_path / "half.keras"))


@pytest.mark.parametrize(
    ("backbone", "weights", "sentence"),
    [
        (
            "resnet_mini",
            "imagenet",
            "weights must be a file or None for 'resnet_mini', which has no published weights",
        ),
        (
            "mobilenet",
            "/nowhere/w.h5",
            "weights must be 'imagenet' or a file .h5, .weights.h5 or .keras, got '/nowhere/w.h5'",
        ),
        ("mobilenet", "noisy-student", "weights must be 'imagenet' or a file"),
    ],
)
def test_unusable_weights(backbone, weights, sentence):
    with pytest.raises(ValueError, match=sentence):
        build_backbone(backbone, 32, weights=weights)


def test_a_model_has_its_own_weights(tmp_path):
    pixels = keras.Input((8, 8, 3))
    model = keras.Model(pixels, keras.layers.Conv2D(4, 3)(pixels))
    model.save(tmp_path / "tower.keras")
    for backbone in (model, str(tmp_path / "tower.keras")):
        with pytest.raises(
            ValueError, match="weights must be None for .* which has its own weights, got 'imagenet'"
        ):
            build_backbone(backbone, weights="imagenet")


def test_imagenet_weights_that_cannot_be_downloaded(monkeypatch, tmp_path):
    """The message names the file, Keras' cache folder, and the remedies."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".keras").mkdir()
    go_offline(monkeypatch)
    with pytest.raises(ValueError) as error:
        build_backbone("mobilenet", 224, weights="imagenet")
    assert "no good file mobilenet_1_0_224_tf_no_top.h5" in str(error.value)
    assert str(tmp_path / ".keras" / "models") in str(error.value)
    assert "or give weights the path of a file" in str(error.value)
    assert not list((tmp_path / ".keras" / "models").iterdir())


def test_imagenet_weights_of_a_wrong_checksum(monkeypatch, tmp_path):
    """A file that a proxy or a full disk truncates raises an error."""
    source = tmp_path / "short.h5"
    source.write_bytes(b"cut short")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".keras").mkdir()
    monkeypatch.setattr("tf_keras.src.applications.inception_v3.WEIGHTS_PATH_NO_TOP", source.as_uri())
    with pytest.raises(
        ValueError, match=r"inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5 in .*corrupted file"
    ):
        build_backbone("inception_v3", 75, weights="imagenet")


def test_imagenet_weights_on_a_full_disk(monkeypatch, tmp_path):
    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".keras").mkdir()
    monkeypatch.setattr("tf_keras.src.utils.data_utils.urlretrieve", full)
    with pytest.raises(ValueError, match="no good file of weights in .*No space left on device"):
        build_backbone("mobilenet", 224, weights="imagenet")


def test_imagenet_weights_in_keras_cache_are_used(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    models = tmp_path / ".keras" / "models"
    models.mkdir(parents=True)
    trained = build_backbone("mobilenet", 224)
    network_of(trained).save_weights(models / "mobilenet_1_0_224_tf_no_top.h5")
    again = build_backbone("mobilenet", 224, weights="imagenet")
    np.testing.assert_allclose(again(pixels_of(224)), trained(pixels_of(224)), rtol=1e-5, atol=1e-5)


def test_a_saved_layer_no_longer_needs_its_weights_file(tmp_path):
    path = tmp_path / "w.weights.h5"
    save(build_backbone("resnet_mini", 16), path)
    layer = VisualEncoder("resnet_mini", 16, weights=str(path))
    given = keras.Input((16, 16, 3))
    model = keras.Model(given, layer(given))
    model.save(tmp_path / "model.keras")
    path.unlink()
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again(pixels_of(16)), model(pixels_of(16)), rtol=1e-5)


@pytest.mark.parametrize(
    ("backbone", "size"),
    [("resnet_mini", 48), ("inception_v3", 299), ("Xception", 299), ("NASNetLarge", 331), ("resnet101", 224)],
)
def test_the_picture_size_of_a_backbone(backbone, size):
    assert image_size_of(backbone) == size


def test_the_picture_size_of_a_keras_file(tmp_path):
    pixels = keras.Input((20, 20, 3))
    keras.Model(pixels, keras.layers.Conv2D(4, 3)(pixels)).save(tmp_path / "tower.keras")
    assert image_size_of(str(tmp_path / "tower.keras")) == 20


def test_licences():
    assert licence_of("InceptionV3") == "Apache-2.0" and licence_of("resnet_101") == "MIT"
    assert licence_of("regnet_x002") == ""
