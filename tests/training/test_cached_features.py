"""Features of a split are computed once; after a stop, only missing ones are computed."""

import numpy as np
import pytest

from ctxvision.training import cached_features
from ctxvision.training.cached_features import CachedFeatures
from ctxvision.training.progress import Progress

PICTURES = np.arange(10 * 12, dtype=np.uint8).reshape(10, 2, 2, 3)


class Tower:
    """Returns means of pictures; stops at batch number `stops_at`."""

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


def test_features_from_before_a_stop_are_not_computed_again(features):
    first, second = Tower(stops_at=2), Tower()
    with pytest.raises(KeyboardInterrupt):
        features.of("visual", lambda: first, "test:seen")
    assert first.asked == [4, 4]
    found = features.of("visual", lambda: second, "test:seen")
    assert second.asked == [2]
    np.testing.assert_allclose(found, PICTURES.mean(axis=(1, 2)))
    assert [path.name for path in features.folder.glob("visual/*")] == ["test%3Aseen.npy"]


def test_progress_tells_how_many_pictures_are_done(features):
    progress = Counted()
    features.of("visual", Tower, "train", progress=progress)
    assert progress.seen == [(4, 10, "pictures"), (8, 10, "pictures"), (10, 10, "pictures")]


class Counted(Progress):
    def __init__(self):
        super().__init__()
        self.seen = []

    def update(self, done, note="", total=1.0, unit=""):
        self.seen.append((done, total, unit))


def test_the_tower_is_built_only_if_features_are_missing(features):
    features.of("visual", Tower, "train")

    def never():
        raise AssertionError("it was computed before")

    np.testing.assert_allclose(features.of("visual", never, "train"), PICTURES.mean(axis=(1, 2)))


@pytest.fixture
def frozen(tmp_path, monkeypatch):
    """Computes features in a new folder with a tower that other runs use too."""
    monkeypatch.setenv("CTXVISION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cached_features, "is_frozen", lambda tower: False)
    monkeypatch.setattr(cached_features, "_digest_of_weights", lambda tower: tower.backbone)

    def made(name, tower, pictures=PICTURES):
        features = CachedFeatures(tmp_path / name, lambda split: pictures)
        return features.of("queries", lambda: tower, "train", shared=True)

    return made


def test_another_run_finds_the_features_of_the_same_tower_and_pictures(frozen, tmp_path):
    first, second = Tower(), Tower()
    expected = frozen("first", first)
    np.testing.assert_array_equal(frozen("second", second), expected)
    assert (first.asked, second.asked) == ([10], [])
    paths = [tmp_path / name / "queries" / "train.npy" for name in ("first", "second")]
    assert paths[0].samefile(paths[1])  # a link, not a copy


def test_features_of_pictures_in_other_splits_are_found(frozen):
    first, second, third = Tower(), Tower(), Tower()
    frozen("first", first, PICTURES[:6])
    dealt = PICTURES[[9, 5, 0, 7, 3, 3]]
    np.testing.assert_allclose(frozen("second", second, dealt), dealt.mean(axis=(1, 2)), atol=1e-4)
    assert second.asked == [2]  # pictures 9 and 7
    again = dealt[::-1]
    np.testing.assert_allclose(frozen("third", third, again), again.mean(axis=(1, 2)), atol=1e-4)
    assert third.asked == []


def test_missing_pictures_are_resumed_after_a_stop(frozen, monkeypatch):
    monkeypatch.setattr(cached_features, "SHARD", 2)
    frozen("first", Tower(), PICTURES[:3])
    stopped, other = Tower(stops_at=2), Tower()
    with pytest.raises(KeyboardInterrupt):
        frozen("second", stopped)
    assert stopped.asked == [2, 2]
    frozen("other", other, PICTURES[[4, 8]])  # another run computes pictures that the stopped run still needs
    again = Tower()
    np.testing.assert_allclose(frozen("second", again), PICTURES.mean(axis=(1, 2)), atol=1e-4)
    assert sum(again.asked) == 5


def test_other_pictures_or_another_tower_are_computed(frozen):
    frozen("first", Tower())
    pictures, tower = Tower(), Tower()
    np.testing.assert_allclose(
        frozen("second", pictures, PICTURES + 1), (PICTURES + 1).mean(axis=(1, 2)), atol=1e-4
    )
    tower.backbone = "another"
    frozen("third", tower)
    assert pictures.asked == tower.asked == [10]


def test_a_cache_that_cannot_be_written_is_ignored(frozen, tmp_path):
    (tmp_path / "cache").write_text("a file")
    tower = Tower()
    np.testing.assert_allclose(frozen("first", tower), PICTURES.mean(axis=(1, 2)), atol=1e-4)
    assert tower.asked == [10]
