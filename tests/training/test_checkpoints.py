"""Large models are written in shards while training goes on."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import ctxvision as cv
from ctxvision.training import checkpoints
from ctxvision.training.checkpoints import Checkpoints

STATE = {"epoch": 1, "step": 0, "curves": {"loss": [2.0]}, "partial": {}}


@pytest.fixture
def in_background(monkeypatch):
    monkeypatch.setattr(checkpoints, "IN_BACKGROUND", 0)
    monkeypatch.setattr(checkpoints, "SHARD_BYTES", 1 << 19)


def classifier(seed):
    keras.utils.set_random_seed(seed)
    pixels = keras.Input((4, 4, 3))
    tower = keras.Model(pixels, keras.layers.Flatten()(pixels))
    model = cv.QueryClassifier(cv.PhraseGenerator(tower), 8000, num_sampled=16, seed=seed)
    model.compile(keras.optimizers.AdamW(1e-2))
    model.phrase_generator(tf.zeros([1, 4, 4, 3]))
    model.optimizer.build(model.trainable_variables)
    return model


def values(model):
    return [weight.numpy() for weight in [*model.weights, *model.optimizer.variables]]


def test_a_checkpoint_holds_the_model_at_the_time_of_the_call(tmp_path, in_background):
    model, state = classifier(0), {**STATE, "curves": {"loss": [2.0]}}
    expected, writer = values(model), Checkpoints(model, tmp_path)
    writer.write(state)
    state["curves"]["loss"].append(1.0)
    pixels, queries = np.random.default_rng(0).uniform(0, 255, (64, 4, 4, 3)), np.arange(128).reshape(64, 2)
    model.fit(pixels.astype(np.float32), queries.astype(np.int32), batch_size=32, verbose=0)
    assert any((a != b).any() for a, b in zip(values(model), expected, strict=True))
    writer.close()
    # The table's 2 MB are written in files of half a megabyte.
    assert len(list((tmp_path / "epoch-1").glob("checkpoint.data-*"))) > 3
    again = classifier(1)
    assert Checkpoints(again, tmp_path).read() == STATE
    for found, value in zip(values(again), expected, strict=True):
        np.testing.assert_array_equal(found, value)


def test_a_checkpoint_stays_until_the_next_is_named(tmp_path, in_background):
    model = classifier(0)
    writer = Checkpoints(model, tmp_path)
    writer.write(STATE)
    writer.write({**STATE, "epoch": 2})
    writer.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch-2", "state.json"]
    writer.close()  # returns at once, since all is written


def test_an_error_of_a_background_write_is_raised(tmp_path, in_background):
    model = classifier(0)
    writer = Checkpoints(model, tmp_path / "run")
    (tmp_path / "run").write_text("a file in the way")
    with pytest.raises((tf.errors.OpError, OSError)):
        writer.write(STATE)
        writer.close()
