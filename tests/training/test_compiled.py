"""Checks that predict a run on a TPU: XLA compiles every stage and the prediction, without dynamic shapes."""

import functools
import re

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from ctxvision.training.fit import fit
from ctxvision.training.strategies import building
from tests.tiny_model import tiny_classifier
from tests.training.stages import STEPS, stages

STAGES = dict(stages())
# XLA writes a bounded dynamic dimension like this.
DYNAMIC = re.compile(r"\[[^\]]*<=")


def hlo_of(function, *arguments):
    return tf.function(function, jit_compile=True).experimental_get_compiler_ir(*arguments)(stage="hlo")


# The everyday tests run one stage of each kind: pixels with sampled classes, words, features.
EVERY_DAY = ("phrases, sampled", "text", "head, multi-label")


@pytest.mark.parametrize(
    "name", [name if name in EVERY_DAY else pytest.param(name, marks=pytest.mark.slow) for name in STAGES]
)
def test_a_stage_trains_compiled_in_static_shapes(name):
    """Eight compiled steps in one execution end at the weights of plain steps.

    XLA draws other random numbers from a seed, so sampled classes differ, with the same distribution.
    """
    stage = STAGES[name]
    with building(tf.distribute.OneDeviceStrategy("/cpu:0")):
        model = stage.compiled(jit_compile=True, steps_per_execution=8)
    assert model.jit_compile
    loss = fit(model, stage.batches())["loss"]
    assert int(model.optimizer.iterations) == STEPS
    plain = stage.compiled()
    sampled = "sampled" in name
    assert loss == pytest.approx(fit(plain, stage.batches())["loss"], rel=0.05 if sampled else 1e-4)
    for a, b in zip(model.trainable_weights, plain.trainable_weights, strict=True):
        np.testing.assert_allclose(a, b, atol=0.05 if sampled else 1e-3)

    batch = next(iter(stage.batches()))
    text = hlo_of(lambda: model.train_step(batch))
    assert "f32[" in text and not DYNAMIC.search(text)


def test_the_check_finds_a_dynamic_shape():
    assert DYNAMIC.search(hlo_of(lambda ids: tf.unique(ids).y, tf.constant([1, 1, 2])))


@pytest.mark.parametrize("backend", ["ivf", "exact"])
def test_prediction_compiles_in_static_shapes_and_strings_come_after_it(backend):
    """Covers pixels, embeddings, retrieved rows, folded text and fusion."""
    model = tiny_classifier(backend, rows=600)
    pixels = tf.constant(np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), dtype=np.uint8))
    compiled = tf.function(model.classify, jit_compile=True)
    found, expected = compiled(pixels), model(pixels)
    np.testing.assert_array_equal(found["phrase_ids"], expected["phrase_ids"])
    np.testing.assert_allclose(found["probabilities"], expected["probabilities"], atol=1e-5)
    np.testing.assert_array_equal(model.phrases_of(found["phrase_ids"]), expected["phrases"])
    assert not DYNAMIC.search(hlo_of(lambda pixels: model.classify(pixels), pixels))


@pytest.mark.slow
def test_the_whole_model_is_fine_tuned_and_predicts_compiled():
    """Under compiled `model.fit`, as on a TPU, head and visual encoder learn as in the uncompiled model."""
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 256, (16, 16, 16, 3), dtype=np.uint8), np.arange(16) % 4
    batches = tf.data.Dataset.from_tensor_slices((pixels, labels)).batch(8, drop_remainder=True)

    def fine_tuned(compiled):
        with building(tf.distribute.OneDeviceStrategy("/cpu:0")):
            model = tiny_classifier("ivf", rows=600, dropout=0.0)
            model.phrase_generator.trainable = False
            settings = {"jit_compile": compiled, "steps_per_execution": 2, "metrics": ["accuracy"]}
            model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", **settings)
        before = [weight.numpy() for weight in model.trainable_weights]
        model.fit(batches, epochs=2, verbose=0)
        moved = [np.abs(a - b).max() for a, b in zip(before, model.trainable_weights, strict=True)]
        assert len(moved) > 4 and min(moved) > 1e-3
        return model

    model, plain = fine_tuned(True), fine_tuned(False)
    for a, b in zip(model.weights, plain.weights, strict=True):
        if a.dtype.is_floating:
            np.testing.assert_allclose(a, b, atol=1e-3)
    batch = next(iter(batches))
    for step in (model.train_step, model.test_step, model.predict_step):
        text = hlo_of(functools.partial(step, batch))
        assert "f32[" in text and not DYNAMIC.search(text)
    told, found, expected = (
        model.evaluate(batches, verbose=0),
        model.predict(batches, verbose=0),
        model(pixels),
    )
    assert told[1] == (found["probabilities"].argmax(axis=1) == labels).mean()
    assert found.keys() == expected.keys()
    np.testing.assert_allclose(found["probabilities"], expected["probabilities"], atol=1e-5)
    np.testing.assert_array_equal(found["phrases"], expected["phrases"])
