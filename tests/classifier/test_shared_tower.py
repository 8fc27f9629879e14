"""The phrase generator's ConvNet as the visual encoder's backbone."""

import numpy as np
import pytest
import tensorflow as tf

import ctxvision as cv
from ctxvision.serving.loading import load_export
from tests.tiny_data import tiny_settings

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shared_run(tiny_data, tmp_path_factory):
    settings = {**tiny_settings(tiny_data), "visual_backbone": "shared", "fractions": [1.0]}
    return cv.train(tiny_data, tmp_path_factory.mktemp("shared") / "run", cv.Config.from_dict(settings))


def test_the_visual_features_are_those_under_the_bottleneck(shared_run):
    model, pixels = shared_run.classifier, shared_run.data.pictures("val")
    assert model.visual_encoder.tower is model.phrase_generator.tower
    assert (
        shared_run.stages.curves().keys() >= {"context/generator", "context/text"}
        and "visual/1" not in shared_run.stages.curves()
    )
    queries, visual = model.embed(pixels)
    bottleneck = model.phrase_generator.bottleneck(visual)
    np.testing.assert_allclose(
        model.phrase_generator.whiten(bottleneck), queries * norm(bottleneck, model), atol=1e-4
    )
    np.testing.assert_allclose(visual, shared_run.visual_features("val", 1.0), atol=1e-4)
    np.testing.assert_allclose(queries, shared_run.query_embeddings("val"), atol=1e-4)


def norm(bottleneck, model):
    return np.linalg.norm(model.phrase_generator.whiten(bottleneck), axis=1, keepdims=True)


def test_the_export_runs_the_convnet_once_and_answers_the_same(shared_run, tiny_run):
    def convolutions(run):
        nodes = load_export(run.directory / "export").signatures["serving_default"].graph.as_graph_def()
        ops = [node.op for node in nodes.node]
        ops += [node.op for function in nodes.library.function for node in function.node_def]
        return ops.count("Conv2D")

    assert convolutions(shared_run) == convolutions(tiny_run) / 2 > 0
    pixels = shared_run.data.pictures("val")
    export = load_export(shared_run.directory / "export")
    answer = export.signatures["pixels"](pixels=tf.constant(pixels))
    expected = shared_run.classifier.predict(pixels, verbose=0)
    np.testing.assert_allclose(answer["probabilities"], expected["probabilities"], atol=1e-5)
