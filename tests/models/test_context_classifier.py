import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import ctxvision as cv
from tests.tiny_model import tiny_classifier, tiny_table


def test_outputs_agree_with_the_layers_called_by_hand():
    model = tiny_classifier()
    pixels = tf.random.stateless_uniform([4, 20, 18, 3], [0, 1], 0, 255)
    outputs = model(pixels)
    found = model.retrieval(model.phrase_generator(pixels))
    np.testing.assert_array_equal(outputs["phrase_ids"], found.ids)
    np.testing.assert_array_equal(outputs["phrases"], found.phrases)
    context = model.pooling([model.text(found.phrases), found.scores])
    expected = model.fuse(model.visual_encoder(pixels), context, model.phrase_generator(pixels))
    np.testing.assert_allclose(outputs["probabilities"], expected, atol=1e-5)


def test_uint8_pixels_of_any_size():
    model = tiny_classifier()
    pixels = tf.cast(tf.random.stateless_uniform([2, 33, 21, 3], [0, 1], 0, 255), tf.uint8)
    from_bytes = model(pixels)["probabilities"]
    np.testing.assert_allclose(from_bytes, model(tf.cast(pixels, tf.float32))["probabilities"], atol=1e-6)


def test_a_picture_without_a_batch_axis():
    with pytest.raises(
        ValueError, match=r"pixels must have shape \[B, H, W, 3\], got .*: add the batch axis"
    ):
        tiny_classifier().predict(np.zeros([20, 20, 3], np.uint8), verbose=0)


def test_the_layers_are_in_the_summary_by_name():
    lines = []
    tiny_classifier().summary(print_fn=lines.append)
    for name in ("phrase_generator", "prototype_retrieval", "phrase_embeddings", "context_fusion"):
        assert any(line.lstrip().startswith(name) for line in lines)


@pytest.mark.parametrize(("backend", "rows"), [("exact", 12), ("ivf", 5000)])
def test_the_traced_model_finds_a_phrase_that_is_added_later(backend, rows):
    model, table = tiny_classifier(backend, rows), tiny_table(rows)
    pixels = np.random.default_rng(0).uniform(0, 255, (4, 16, 16, 3)).astype(np.float32)
    queries = model.phrase_generator(pixels).numpy()
    before = model.predict(pixels, verbose=0)
    traced = tf.function(model)
    traced(tf.constant(pixels))

    def change(ids):
        model.phrase_embeddings.assign(model.text.ngrams(list(table.phrases)))
        model.retrieval.update(table, ids)
        return model.predict(pixels, verbose=0), traced(tf.constant(pixels)), model(pixels)

    for outputs in change(table.upsert(["new", "newer"], queries[:2])):
        assert np.array(outputs["phrase_ids"])[:2, 0].tolist() == [rows, rows + 1]
        assert np.array(outputs["phrases"])[:2, 0].tolist() == [b"new", b"newer"]
        context = model.pooling([model.text(outputs["phrases"]), outputs["phrase_scores"]])
        expected = model.fuse(model.visual_encoder(pixels), context, model.phrase_generator(pixels))
        np.testing.assert_allclose(outputs["probabilities"], expected, atol=1e-5)
    for outputs in change(table.remove(["new", "newer"])):
        np.testing.assert_array_equal(outputs["phrase_ids"], before["phrase_ids"])
        np.testing.assert_allclose(outputs["probabilities"], before["probabilities"], atol=1e-5)


def test_compile_and_fit_fine_tune_what_is_trainable():
    model = tiny_classifier()
    model.phrase_generator.trainable = model.visual_encoder.trainable = False
    pixels = np.random.default_rng(0).uniform(0, 255, (32, 16, 16, 3)).astype(np.float32)
    labels = np.arange(32) % len(model.labels)
    tower, head = model.visual_encoder.get_weights(), model.fusion.get_weights()
    model.compile(keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(pixels, labels, epochs=8, verbose=0).history
    assert set(history) == {"loss", "accuracy"}
    assert history["loss"][-1] < history["loss"][0]
    for before, after in zip(tower, model.visual_encoder.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    assert any(
        (before != after).any() for before, after in zip(head, model.fusion.get_weights(), strict=True)
    )
    assert set(model.evaluate(pixels, labels, verbose=0, return_dict=True)) == {"loss", "accuracy"}
    assert model.predict(pixels, verbose=0)["phrases"].shape == (32, model.retrieval.k)


def test_an_unfrozen_visual_encoder_learns():
    model = tiny_classifier()
    model.phrase_generator.trainable = False
    before = model.visual_encoder.get_weights()[0]
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(np.zeros([8, 16, 16, 3], np.float32) + 99, np.arange(8) % len(model.labels), verbose=0)
    assert (before != model.visual_encoder.get_weights()[0]).any()


def test_no_string_op_lies_between_pixels_and_probabilities():
    model = tiny_classifier()
    step = tf.function(lambda pixels: model(pixels)["probabilities"])
    graph = step.get_concrete_function(tf.TensorSpec([None, 16, 16, 3])).graph
    assert not [op.type for op in graph.get_operations() if "String" in op.type or "TFText" in op.type]


def test_labels_must_fit_the_head():
    model = tiny_classifier()
    with pytest.raises(ValueError, match="labels must name each of the 4 labels of context_fusion, got 1"):
        cv.ContextClassifier(
            model.phrase_generator,
            model.retrieval,
            model.phrase_embeddings,
            model.visual_encoder,
            model.fusion,
            ["one"],
        )


def test_a_shared_tower_runs_once():
    apart = tiny_classifier()
    tower = apart.phrase_generator.tower
    parts = (apart.phrase_generator, apart.retrieval, apart.phrase_embeddings, cv.VisualEncoder(tower))
    shared = cv.ContextClassifier(*parts, cv.ContextFusion(len(apart.labels)), apart.labels)

    def convolutions(model):
        traced = tf.function(model.embed).get_concrete_function(tf.TensorSpec([None, 16, 16, 3]))
        return [node.op for node in traced.graph.as_graph_def().node].count("Conv2D")

    assert (convolutions(apart), convolutions(shared)) == (2, 1)
    pixels = tf.random.stateless_uniform([2, 16, 16, 3], [0, 1], 0, 255)
    queries, visual = shared.embed(pixels)
    np.testing.assert_allclose(queries, apart.phrase_generator(pixels), atol=1e-6)
    np.testing.assert_allclose(visual, tower(pixels), atol=1e-5)
