import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import ctxvision as cv
from ctxvision._files import read_json
from ctxvision.training import Progress
from ctxvision.training.fit import cosine_adamw, fit_resumably


def linear():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.layers.Dense(1, input_shape=(2,))], name="linear")
    model.compile(cosine_adamw(0.1, 40), "mse")
    return model


def batches(epoch, broken_from=99):
    rng = np.random.default_rng(epoch)
    x = rng.normal(size=(10, 4, 2)).astype(np.float32)
    y = x.sum(axis=-1) * (np.nan if epoch >= broken_from else 1.0)
    return tf.data.Dataset.from_tensor_slices((x, y))


def fit(model, folder, epochs=4, **kwargs):
    return fit_resumably(
        model, lambda e: batches(e, **kwargs), epochs, folder, Progress(every=99), folder / "logs"
    )


def test_it_goes_on_after_the_last_whole_epoch(tmp_path):
    whole = linear()
    curves = fit(whole, tmp_path / "whole")
    fit(linear(), tmp_path / "cut", epochs=2)
    resumed = linear()
    assert fit(resumed, tmp_path / "cut") == curves
    for one, other in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(curves["loss"]) == 4 and curves["loss"][-1] < curves["loss"][0]


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_epoch(tmp_path):
    with pytest.raises(
        cv.InputError, match="training linear broke off in epoch 2: loss is not a number; lower"
    ):
        fit(linear(), tmp_path, broken_from=2)
    state = read_json(tmp_path / "state.json")
    assert state["epoch"] == 2 and (tmp_path / "epoch-2").is_dir()


def test_the_rate_warms_up_and_falls_to_zero():
    schedule = cosine_adamw(0.1, 100)._learning_rate
    np.testing.assert_allclose([schedule(0), schedule(5), schedule(100)], [0.005, 0.1, 0.0], atol=1e-6)
