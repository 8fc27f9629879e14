"""What predicts that a TPU runs it: XLA compiles every stage and the prediction, and no shape in them is dynamic."""

import re

import numpy as np
import pytest
import tensorflow as tf

from ctxvision.training.fit import fit
from ctxvision.training.strategies import building
from tests.tiny_model import tiny_classifier
from tests.training.stages import STEPS, stages

STAGES = dict(stages())
# How a bound on a dimension's size is written, where the size is known only when the program runs.
DYNAMIC = re.compile(r"\[[^\]]*<=")


def hlo_of(function, *arguments):
    return tf.function(function, jit_compile=True).experimental_get_compiler_ir(*arguments)(stage="hlo")


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_trains_compiled_in_static_shapes(name):
    """The compiled step, run eight times in one execution, ends where the plain one does.

    XLA makes other random numbers of a seed: sampled classes are other ones, of the same distribution.
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


def test_a_dynamic_shape_would_be_seen():
    assert DYNAMIC.search(hlo_of(lambda ids: tf.unique(ids).y, tf.constant([1, 1, 2])))


@pytest.mark.parametrize("backend", ["ivf", "exact"])
def test_prediction_compiles_in_static_shapes_and_strings_come_after_it(backend):
    """Pixels, embeddings, retrieved rows, folded text, fusion."""
    model = tiny_classifier(backend, rows=600)
    pixels = tf.constant(np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), dtype=np.uint8))
    compiled = tf.function(model.classify, jit_compile=True)
    found, expected = compiled(pixels), model(pixels)
    np.testing.assert_array_equal(found["phrase_ids"], expected["phrase_ids"])
    np.testing.assert_allclose(found["probabilities"], expected["probabilities"], atol=1e-5)
    np.testing.assert_array_equal(model.phrases_of(found["phrase_ids"]), expected["phrases"])
    assert not DYNAMIC.search(hlo_of(model.classify, pixels))
