"""Tests the same contract for every backend, with NumPy's brute force as the oracle."""

import gc
import sys
import weakref

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from ctxvision import PhraseTable
from ctxvision.layers import PrototypeRetrieval, prototype_retrieval
from tests.layer_checks import check_layer
from tests.layers.retrieval.many_rows import (
    ADULT,
    BACKENDS,
    COUNTS,
    DIM,
    GERMAN,
    IDS,
    PROTOTYPES,
    QUERIES,
    ROWS,
    SEARCHES,
    TABLE,
    check_found,
)
from tests.layers.retrieval.oracle import check_exact, check_sound, nearest, unit


def test_finds_what_the_oracle_finds(retrieval):
    check_found(retrieval(tf.constant(QUERIES[:6])), QUERIES[:6], 4)


def test_the_backend_is_the_named_one(retrieval):
    assert type(retrieval._search).__name__ == SEARCHES[retrieval.backend]


@pytest.mark.parametrize("backend", BACKENDS)
def test_below_4096_rows_all_are_exact(backend):
    few, enough = (
        PrototypeRetrieval(1, backend).index(TABLE.take(IDS[:n]), min_count=0) for n in (4095, 4096)
    )
    assert type(few._search).__name__ == "ExactSearch"
    assert type(enough._search).__name__ == SEARCHES[backend]


def test_rows_that_tie(retrieval):
    found = retrieval(tf.constant(QUERIES[6:]))
    if retrieval.backend == "exact":
        assert found.ids.numpy().tolist() == [[3, 5500, 5501, 5502]]
    check_exact(found.ids, found.scores, QUERIES[6:], PROTOTYPES, 4)
    np.testing.assert_allclose(found.scores, [[1, 1, 1, 1]], atol=1e-6)


@pytest.mark.parametrize("length", [1e-30, 1e-9, 3.0, 1e30])
def test_length_of_a_query_does_not_matter(retrieval, length):
    check_found(retrieval(tf.constant(QUERIES[:6] * np.float32(length))), QUERIES[:6], 4)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 0.0])
@pytest.mark.parametrize("filtered", [False, True])
def test_unusable_query_finds_nothing_and_does_not_affect_others(retrieval, bad, filtered):
    queries = QUERIES[:6].copy()
    queries[2] = 0.0
    queries[2, 5] = bad
    where = retrieval.filter(deny_flags=["adult"]) if filtered else None
    ids, scores, phrases = (x.numpy() for x in retrieval(tf.constant(queries), where=where))
    assert ids[2].tolist() == [-1] * 4 and scores[2].tolist() == [-1] * 4 and phrases[2].tolist() == [b""] * 4
    others = [0, 1, 3, 4, 5]
    expected = nearest(QUERIES, PROTOTYPES, 4, ~ADULT if filtered else None)[0]
    np.testing.assert_array_equal(ids[others], expected[others])


@pytest.mark.parametrize("filtered", [False, True])
def test_empty_batch(retrieval, filtered):
    where = retrieval.filter(deny_flags=["adult"]) if filtered else None
    assert [tuple(x.shape) for x in retrieval(tf.zeros([0, DIM]), where=where)] == [(0, 4)] * 3
    traced = tf.function(lambda q: retrieval(q, where=where), input_signature=[tf.TensorSpec([None, DIM])])
    assert [tuple(x.shape) for x in traced(tf.zeros([0, DIM]))] == [(0, 4)] * 3


@pytest.mark.parametrize("backend", BACKENDS)
def test_rows_left_out_of_the_index_keep_the_ids_of_the_table(backend):
    layer = PrototypeRetrieval(k=3, backend=backend).index(TABLE, languages=["en"], min_count=1)
    kept = ~GERMAN & (COUNTS >= 1)
    assert kept.sum() >= prototype_retrieval.FEWEST_ROWS
    check_found(layer(tf.constant(QUERIES[:6])), QUERIES[:6], 3, kept)


def test_phrases_without_pictures_are_left_out_by_default():
    layer = PrototypeRetrieval(backend="exact").index(TABLE)
    assert layer._search.ids.numpy().tolist() == IDS[COUNTS > 0].tolist()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("k", [150, ROWS])
def test_many_neighbours_up_to_all_rows(backend, k):
    found = PrototypeRetrieval(k=k, backend=backend).index(TABLE, min_count=0)(tf.constant(QUERIES[:3]))
    check_sound(found.ids, found.scores, QUERIES[:3], PROTOTYPES)
    assert (found.ids.numpy() >= 0).all()
    if k == ROWS or backend == "exact":
        check_exact(found.ids, found.scores, QUERIES[:3], PROTOTYPES, k)


@pytest.mark.parametrize("backend", BACKENDS)
def test_few_rows(backend):
    table = PhraseTable.from_arrays(["x", "y"], [[1.0, 0.0], [0.6, 0.8]])
    found = PrototypeRetrieval(k=2, backend=backend).index(table)(tf.constant([[0.0, 2.0]]))
    assert found.phrases.numpy().tolist() == [[b"y", b"x"]]
    np.testing.assert_allclose(found.scores, [[0.8, 0.0]], atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_float16_table(backend):
    table = PhraseTable.from_arrays(TABLE.phrases, PROTOTYPES, dtype="float16")
    found = PrototypeRetrieval(k=4, backend=backend).index(table)(tf.constant(QUERIES[:6]))
    assert found.scores.dtype == tf.float32
    check_exact(found.ids, found.scores, QUERIES[:6], table.prototypes, 4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_support_shortens_rows_of_few_pictures(backend):
    layer = PrototypeRetrieval(k=4, backend=backend).index(TABLE, support=2.0)
    found = layer(tf.constant(QUERIES[:6]), k=2)
    factors = (COUNTS / (COUNTS + 2.0))[found.ids.numpy()]
    cosines = np.take_along_axis(unit(QUERIES[:6]) @ PROTOTYPES.T, found.ids.numpy(), axis=1)
    np.testing.assert_allclose(found.scores, cosines * factors, atol=1e-6)
    ranked = (unit(QUERIES[:6]) @ PROTOTYPES.T) * (COUNTS / (COUNTS + 2.0))
    np.testing.assert_allclose(found.scores, np.sort(ranked, axis=1)[:, :-3:-1], atol=1e-6)


# === Layer contract ===


@pytest.mark.parametrize("backend", ["ivf", "exact"])
def test_layer_contract_with_tensorflow_only(backend):
    layer = PrototypeRetrieval(k=4, backend=backend).index(TABLE)
    check_layer(layer, tf.constant(np.where(np.arange(7)[:, None] == 2, np.nan, QUERIES), tf.float32))


def test_layer_contract_holds_for_scann():
    layer = PrototypeRetrieval(k=4, backend="scann").index(TABLE)
    check_layer(layer, tf.constant(QUERIES), fresh_process_imports=("tensorflow", "scann"))


def test_functional_model_knows_the_shapes(retrieval):
    inputs = keras.Input([DIM])
    model = keras.Model(inputs, dict(zip(("ids", "scores", "phrases"), retrieval(inputs))))
    assert {name: shape for name, shape in model.output_shape.items()} == dict.fromkeys(
        model.output_shape, (None, 4)
    )
    ids = model.predict(QUERIES[:6], batch_size=4, verbose=0)["ids"]
    np.testing.assert_array_equal(ids, nearest(QUERIES[:6], PROTOTYPES, 4)[0])


def test_a_known_batch_size_stays_known(retrieval):
    traced = tf.function(retrieval).get_concrete_function(tf.TensorSpec([5, DIM]))
    assert [tuple(x.shape) for x in traced.structured_outputs] == [(5, 4)] * 3


def test_mixed_precision_leaves_retrieval_in_float32(retrieval):
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        layer = PrototypeRetrieval(k=4, backend=retrieval.backend).index(TABLE, min_count=0)
        rounded = tf.cast(QUERIES[:6], tf.bfloat16)
        found = layer(rounded)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert layer.compute_dtype == "float32"
    check_found(found, tf.cast(rounded, tf.float32).numpy(), 4)


def test_nothing_is_trained(retrieval):
    assert retrieval.trainable_variables == [] and not any(x.trainable for x in retrieval.variables)
    queries = tf.Variable(QUERIES)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(retrieval(queries).scores)
    assert tape.gradient(total, queries) is None


@pytest.mark.parametrize("backend", BACKENDS)
def test_indexing_again_on_a_tape_and_in_place(backend):
    layer = PrototypeRetrieval(k=2, backend=backend).index(TABLE)
    variables, old = len(layer.variables), weakref.ref(layer._search)
    inputs = keras.Input([DIM])
    model = keras.Model(inputs, layer(inputs).phrases)
    model.predict(QUERIES, verbose=0)
    other = PhraseTable.from_arrays([f"new {i}" for i in range(4200)], PROTOTYPES[:4200])
    with tf.GradientTape():
        layer.index(other)
    assert len(layer.variables) == variables
    assert layer(tf.constant(QUERIES)).phrases[6, 0] == b"new 3"
    assert tf.function(layer)(tf.constant(QUERIES)).phrases[6, 0] == b"new 3"
    # The docstring of `index` advises this.
    model.make_predict_function(force=True)
    assert model.predict(QUERIES, verbose=0)[6, 0] == b"new 3"
    gc.collect()
    assert old() is None  # two vocabularies may not fit in memory


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"k": 0}, "k must be a whole number of at least 1, got 0"),
        ({"k": 2.5}, "k must be a whole number of at least 1, got 2.5"),
        ({"backend": "annoy"}, "backend must be 'ivf', 'exact' or 'scann', got 'annoy'"),
    ],
)
def test_bad_arguments(arguments, match):
    with pytest.raises(ValueError, match=match):
        PrototypeRetrieval(**arguments)


def test_scann_absent(monkeypatch):
    monkeypatch.setitem(sys.modules, "scann", None)
    with pytest.raises(
        ImportError,
        match="backend 'scann' needs a scann package whose ops load beside TensorFlow .*, or use 'ivf'",
    ):
        PrototypeRetrieval(backend="scann")
    for backend in ("ivf", "exact"):
        PrototypeRetrieval(backend=backend)


@pytest.mark.parametrize(
    "call",
    [
        lambda layer: layer(tf.ones([1, DIM])),
        lambda layer: layer.search(tf.ones([1, DIM])),
        lambda layer: layer.filter(),
        lambda layer: layer.update(TABLE, np.array([1])),
        lambda layer: layer.compact(),
    ],
)
def test_call_before_index(call):
    with pytest.raises(ValueError, match=r"has no phrases yet: call index\(table\) first"):
        call(PrototypeRetrieval())


@pytest.mark.parametrize("shape", [[2, DIM + 1], [DIM], [2, 3, DIM]])
def test_wrong_shape_is_refused_while_tracing(retrieval, shape):
    for call in (retrieval, tf.function(retrieval).get_concrete_function):
        with pytest.raises(
            ValueError, match=rf"embeddings must have shape \[B, {DIM}\] .*, got \({shape[0]},"
        ):
            call(tf.zeros(shape))


def test_more_neighbours_than_rows():
    match = r"k must be at most the number of phrases that may be found, got k = 3 and 0 phrases \(languages \['fr'\]"
    with pytest.raises(ValueError, match=match):
        PrototypeRetrieval().index(TABLE, languages=["fr"])
    with pytest.raises(ValueError, match="got k = 6001 and 6000 phrases"):
        PrototypeRetrieval(k=6001).index(TABLE, min_count=0)


def test_ivf_stores_many_rows_in_float16(monkeypatch):
    monkeypatch.setattr(prototype_retrieval, "MANY_ROWS", len(TABLE))
    few = PrototypeRetrieval(4, "ivf").index(TABLE.take(np.arange(5000)), min_count=0)
    many = PrototypeRetrieval(4, "ivf").index(TABLE, min_count=0)
    asked = PrototypeRetrieval(4, "ivf").index(TABLE, min_count=0, dtype="float32")
    assert [layer._search.rows.dtype for layer in (few, many, asked)] == [tf.float32, tf.float16, tf.float32]
    copy = PrototypeRetrieval.from_config(many.get_config())
    assert copy._search.rows.dtype == tf.float16


def test_ivf_stores_rows_in_a_requested_dtype():
    layer = PrototypeRetrieval(4, "ivf").index(TABLE, min_count=0, dtype="float16", probes=64)
    assert layer._search.rows.dtype == tf.float16
    found = layer(tf.constant(QUERIES[:6])).ids.numpy()
    expected = PrototypeRetrieval(4, "exact").index(TABLE, min_count=0)(tf.constant(QUERIES[:6])).ids.numpy()
    # Cosines are off by at most 1e-3, so near ties may swap.
    assert np.mean([np.isin(a, b).mean() for a, b in zip(expected, found)]) > 0.9
    with pytest.raises(ValueError, match="dtype must be 'float32' or 'float16', got 'int8': leave it out"):
        PrototypeRetrieval(4, "ivf").index(TABLE, dtype="int8")


def test_an_index_of_an_older_version_is_refused():
    config = PrototypeRetrieval(4, "exact").index(TABLE, min_count=0).get_config()
    del config["index"]["vocabulary"]["attributes"]["phrase_ends"]
    with pytest.raises(ValueError, match="index must be of this version of ctxvision.*save the model again"):
        PrototypeRetrieval(**config)
