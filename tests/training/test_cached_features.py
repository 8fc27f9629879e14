"""Features of a split are computed once, and after a stop only those that are missing."""

import numpy as np
import pytest

from ctxvision.training import cached_features
from ctxvision.training.cached_features import CachedFeatures

PICTURES = np.arange(10 * 12, dtype=np.uint8).reshape(10, 2, 2, 3)


class Tower:
    """Means of pictures; stops at the batch numbered `stops_at`."""

    def __init__(self, stops_at=None):
        self.asked, self.stops_at = [], stops_at
        self.backbone = "resnet_mini"

    def __call__(self, pixels, training):
        assert not training
        if len(self.asked) == self.stops_at:
            raise KeyboardInterrupt
        self.asked.append(len(pixels))
        return np.asarray(pixels, np.float32).mean(axis=(1, 2))


@pytest.fixture
def features(tmp_path, monkeypatch):
    monkeypatch.setattr(cached_features, "SHARD", 4)
    monkeypatch.setattr(cached_features, "is_frozen", lambda tower: False)
    return CachedFeatures(tmp_path, lambda split: PICTURES)


def test_what_was_computed_before_a_stop_is_not_computed_again(features):
    first, second = Tower(stops_at=2), Tower()
    with pytest.raises(KeyboardInterrupt):
        features.of("visual", lambda: first, "test:seen")
    assert first.asked == [4, 4]
    found = features.of("visual", lambda: second, "test:seen")
    assert second.asked == [2]
    np.testing.assert_allclose(found, PICTURES.mean(axis=(1, 2)))
    assert [path.name for path in features.folder.glob("visual/*")] == ["test-seen.npy"]


def test_the_tower_is_built_only_where_it_is_needed(features):
    features.of("visual", Tower, "train")

    def never():
        raise AssertionError("it was computed before")

    np.testing.assert_allclose(features.of("visual", never, "train"), PICTURES.mean(axis=(1, 2)))
