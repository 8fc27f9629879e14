import json

import numpy as np
import pytest
import tensorflow as tf

from ctxvision.layers import PhraseGenerator, VisualEncoder
from ctxvision.layers.backbone import check_backbone, image_size_of


@pytest.fixture
def folder(tmp_path):
    """Exports a SavedModel that returns the first pixel."""

    class Tower(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], name="pixels")])
        def embed(self, pixels):
            return {"features": pixels[:, 0, 0]}

    tower = Tower()
    tf.saved_model.save(tower, str(tmp_path), signatures={"serving_default": tower.embed})
    return tmp_path


def tell(folder, **facts):
    (folder / "tower.json").write_text(json.dumps(facts))


WHITE = np.full((1, 8, 8, 3), 255.0, np.float32)


def test_tower_json_sets_pixels_and_size(folder):
    tell(folder, pixels="-1..1", image_size=24)
    layer = VisualEncoder(str(folder))
    np.testing.assert_allclose(layer(WHITE), [[1.0, 1.0, 1.0]], atol=1e-6)
    assert layer.tower.input_shape[1] == image_size_of(str(folder)) == 24
    assert PhraseGenerator(str(folder)).tower.input_shape[1] == 24


def test_given_pixels_override_tower_json(folder):
    tell(folder, pixels="-1..1", image_size=24)
    np.testing.assert_allclose(VisualEncoder(str(folder), pixels="0..1")(WHITE), [[1.0, 1.0, 1.0]], atol=1e-6)
    np.testing.assert_allclose(VisualEncoder(str(folder), pixels="0..255")(WHITE), [[255.0] * 3])


def test_a_saved_model_with_an_unknown_pixel_scale(folder):
    with pytest.raises(
        ValueError, match="pixels must be given for a SavedModel without tower.json, got none"
    ):
        VisualEncoder(str(folder))
    tell(folder, image_size=24)
    with pytest.raises(ValueError, match="pixels must be given for a SavedModel"):
        check_backbone(str(folder))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"pixels": "bgr"}', "pixels must be one of 0..255, .* got 'bgr' in .*tower.json"),
        ("pixels", "backbone must have a tower.json of JSON"),
        ("[]", "backbone must have a tower.json that holds an object"),
    ],
)
def test_an_unusable_tower_json(folder, text, sentence):
    (folder / "tower.json").write_text(text)
    with pytest.raises(ValueError, match=sentence):
        check_backbone(str(folder))
