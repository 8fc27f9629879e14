import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from ctxvision.errors import InputError
from ctxvision.layers import VisualEncoder, build_backbone
from ctxvision.training.fine_tuning import check_train, set_trainable, steps_of, train_of

BatchNorm = keras.layers.BatchNormalization


def learns(backbone):
    parts = [layer for layer in backbone._flatten_layers() if not isinstance(layer, keras.Model)]
    return {layer.name for layer in parts if layer.trainable_weights}


def mini():
    return build_backbone("resnet_mini", 16)


def layers_of(backbone, kind):
    return [layer for layer in backbone._flatten_layers() if isinstance(layer, kind)]


def test_none_leaves_nothing_to_learn():
    backbone = mini()
    set_trainable(backbone, "none")
    assert backbone.trainable_weights == []


def test_all_layers_except_batch_normalisation_learn():
    backbone = mini()
    set_trainable(backbone, "all")
    # A stem and three stages of three convolutions, without biases.
    assert len(backbone.trainable_weights) == 10
    assert learns(backbone) == {layer.name for layer in layers_of(backbone, keras.layers.Conv2D)}


def test_all_weights_of_a_random_network_learn():
    backbone = mini()
    before = len(backbone.trainable_weights)
    set_trainable(backbone, None)
    assert len(backbone.trainable_weights) == before == 10 + 2 * 10  # scale and centre of each normalisation


def test_the_top_is_the_last_resolution():
    backbone = mini()
    set_trainable(backbone, "top")
    convolutions = layers_of(backbone, keras.layers.Conv2D)
    # Sides for 16 pixels: 8 after the stem and in the first stage, 4 in the second, 2 in the third.
    assert learns(backbone) == {layer.name for layer in convolutions if layer.filters == 128}
    assert len(backbone.trainable_weights) == 3


@pytest.mark.parametrize(
    ("name", "start"),
    [("vgg16", "block5_conv"), ("mobilenet_v2", ("block_1", "Conv_1")), ("resnet50", "conv5_")],
)
def test_the_top_of_an_application(name, start):
    backbone = build_backbone(name, 64)
    set_trainable(backbone, "top")
    found = learns(backbone)
    assert found and all(layer.startswith(start) for layer in found)
    assert len(found) < len(layers_of(backbone, (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)))


@pytest.mark.parametrize("train", ["none", "top", "all"])
def test_a_step_leaves_the_statistics_of_batch_normalisation(train):
    encoder = VisualEncoder("resnet_mini", 16)
    pixels = tf.random.stateless_uniform([8, 16, 16, 3], [0, 1], 0, 255)
    encoder(pixels, training=True)  # makes statistics other than zero and one
    set_trainable(encoder.tower, train)
    before = [layer.get_weights() for layer in layers_of(encoder.tower, BatchNorm)]
    given = keras.Input((16, 16, 3))
    model = keras.Model(given, keras.layers.Dense(3)(encoder(given)))
    convolution = layers_of(encoder.tower, keras.layers.Conv2D)[-1]
    kernel = convolution.get_weights()[0]
    model.compile("sgd", "mse")
    model.fit(pixels, tf.ones([8, 3]), verbose=0)
    after = [layer.get_weights() for layer in layers_of(encoder.tower, BatchNorm)]
    for old, new in zip(before, after, strict=True):
        for one, other in zip(old, new, strict=True):
            np.testing.assert_array_equal(one, other)
    assert np.array_equal(kernel, convolution.get_weights()[0]) == (train == "none")


def test_the_top_of_a_model_without_feature_maps():
    given = keras.Input((8, 8, 3))
    model = keras.Model(given, keras.layers.Dense(4)(keras.layers.Flatten()(given)))
    with pytest.raises(
        ValueError, match="train must be 'none' or 'all' for .* no feature maps of known size, got 'top'"
    ):
        set_trainable(model, "top")


def test_steps():
    assert steps_of("all") == (("top", True, 1.0, 1.0), ("tower", False, 0.3, 0.25))
    assert [step.frozen for step in steps_of("none")] == [True]
    assert [step.frozen for step in steps_of(None)] == [False]


def test_given_weights_are_frozen_by_default():
    assert train_of(None, None) is None
    assert train_of(None, "imagenet") == "none" and train_of("top", "imagenet") == "top"


def test_settings_that_a_backbone_cannot_follow(tmp_path):
    (tmp_path / "tower.keras").write_bytes(b"")
    cases = [
        ("half", "inception_v3", "imagenet", "visual_train must be one of none, top, all, got 'half'"),
        ("top", str(tmp_path), None, "visual_train must be 'none' for .* which cannot learn, got 'top'"),
        ("all", "shared", None, "visual_train must be 'none' for 'shared', which cannot learn"),
        ("none", "resnet_mini", None, "visual_train must be left out for 'resnet_mini' with random weights"),
    ]
    for train, backbone, weights, sentence in cases:
        with pytest.raises(InputError, match=sentence):
            check_train(train, backbone, weights, "visual_train")
    for train, backbone, weights in [
        ("all", "resnet50", "imagenet"),
        ("top", str(tmp_path / "tower.keras"), None),
        ("none", str(tmp_path), None),
        (None, "resnet_mini", None),
    ]:
        check_train(train, backbone, weights, "visual_train")
