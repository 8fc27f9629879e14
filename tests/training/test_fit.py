import os
import signal

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import ctxvision as cv
from ctxvision._files import read_json
from ctxvision.training.fit import cosine_adamw, fit_resumably
from ctxvision.training.progress import Progress


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


def fit(model, folder, epochs=4, save_every=1000, data=batches, **kwargs):
    return fit_resumably(
        model,
        lambda e: data(e, **kwargs),
        epochs,
        folder,
        Progress(every=99),
        folder / "logs",
        save_every=save_every,
    )


def killed_after(steps):
    """The same batches; raises, like a process that dies, when one more is requested."""

    def data(epoch):
        def next_one(i, x, y):
            tf.debugging.assert_less(i, tf.constant(steps, tf.int64))
            return x, y

        return tf.data.Dataset.zip((tf.data.Dataset.range(10), batches(epoch))).map(
            lambda i, xy: next_one(i, *xy)
        )

    return data


def test_training_resumes_after_the_last_whole_epoch(tmp_path):
    whole = linear()
    curves = fit(whole, tmp_path / "whole")
    fit(linear(), tmp_path / "cut", epochs=2)
    resumed = linear()
    assert fit(resumed, tmp_path / "cut") == curves
    for one, other in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(curves["loss"]) == 4 and curves["loss"][-1] < curves["loss"][0]


def test_training_resumes_within_an_epoch(tmp_path):
    whole = linear()
    curves = fit(whole, tmp_path / "whole")
    with pytest.raises(tf.errors.InvalidArgumentError):
        fit(linear(), tmp_path / "cut", save_every=3, data=killed_after(8))
    state = read_json(tmp_path / "cut" / "state.json")
    assert (state["epoch"], state["step"]) == (0, 6)
    assert [path.name for path in (tmp_path / "cut").glob("epoch-*")] == ["epoch-0-step-6"]
    resumed = linear()
    found = fit(resumed, tmp_path / "cut")
    np.testing.assert_allclose(found["loss"], curves["loss"], rtol=1e-5)
    for one, other in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_sigterm_saves_and_leaves(tmp_path):
    """Preemption announces the end of a machine with SIGTERM."""

    def terminated(epoch):
        def struck():
            for i, batch in enumerate(batches(epoch)):
                if i == 3:
                    os.kill(os.getpid(), signal.SIGTERM)
                yield batch

        signature = batches(epoch).element_spec
        return tf.data.Dataset.from_generator(struck, output_signature=signature).apply(
            tf.data.experimental.assert_cardinality(10)
        )

    before = signal.getsignal(signal.SIGTERM)
    model = linear()
    with pytest.raises(KeyboardInterrupt):
        fit(model, tmp_path, data=terminated)
    assert signal.getsignal(signal.SIGTERM) is before
    state = read_json(tmp_path / "state.json")
    assert state["epoch"] == 0 and 1 <= state["step"] < 10 and model.optimizer.iterations == state["step"]
    whole, resumed = linear(), linear()
    fit(whole, tmp_path / "whole")
    fit(resumed, tmp_path)
    np.testing.assert_array_equal(whole.get_weights()[0], resumed.get_weights()[0])


def test_a_loss_that_is_not_finite_stops_at_its_step_and_keeps_the_last_good_epoch(tmp_path):
    # Epoch 2 has three good batches; with 10 steps per epoch, step 24 fails.
    def data(epoch):
        return batches(epoch).take(3).concatenate(batches(epoch, broken_from=2).skip(3))

    model = linear()
    with pytest.raises(
        cv.InputError,
        match="training linear stopped in epoch 2 at step 24 and a learning rate of 0.0.*: loss is not a number; "
        "the last good checkpoint is kept, train with a lower",
    ) as told:
        fit(model, tmp_path, data=data)
    assert f"rate of {float(model.optimizer.learning_rate):.3g}:" in str(told.value)
    state = read_json(tmp_path / "state.json")
    assert state["epoch"] == 2 and (tmp_path / "epoch-2").is_dir()


def test_several_steps_per_execution_give_the_same_training(tmp_path):
    one, several = linear(), linear()
    several.compile(cosine_adamw(0.1, 40), "mse", steps_per_execution=4)
    curves = fit(one, tmp_path / "one"), fit(several, tmp_path / "several")
    np.testing.assert_allclose(curves[0]["loss"], curves[1]["loss"], rtol=1e-5)
    np.testing.assert_allclose(one.get_weights()[0], several.get_weights()[0], rtol=1e-5)


def test_a_checkpoint_of_another_architecture(tmp_path):
    fit(linear(), tmp_path, epochs=1)
    wider = keras.Sequential([keras.layers.Dense(3, input_shape=(2,)), keras.layers.Dense(1)], name="wider")
    wider.compile(cosine_adamw(0.1, 40), "mse")
    with pytest.raises(
        cv.InputError, match="must fit the model 'wider' .*another architecture.*: delete that folder"
    ):
        fit(wider, tmp_path)
    longer = keras.Sequential([keras.layers.Dense(2, input_shape=(2,)), keras.layers.Dense(1)], name="longer")
    longer.compile(cosine_adamw(0.1, 40), "mse")
    with pytest.raises(cv.InputError, match="must fit the model 'longer'"):
        fit(longer, tmp_path)


def test_the_rate_warms_up_and_falls_to_zero():
    schedule = cosine_adamw(0.1, 100)._learning_rate
    np.testing.assert_allclose([schedule(0), schedule(5), schedule(100)], [0.005, 0.1, 0.0], atol=1e-6)
