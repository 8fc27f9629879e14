"""Exports for an unmodified server: only core ops, no strings in the search, and shapes that XLA compiles."""

import json
import re

import numpy as np
import pytest
import tensorflow as tf

from ctxvision import PhraseTable
from ctxvision.layers import PrototypeRetrieval
from tests.fresh_process import run_fresh
from tests.layers.retrieval.oracle import clustered

ROWS, DIM = 5000, 16
PROTOTYPES = clustered(0, ROWS, clusters=500)
QUERIES = clustered(1, 6, clusters=500)
TABLE = PhraseTable.from_arrays(
    [f"phrase {i} ü" for i in range(ROWS)],
    PROTOTYPES,
    languages=[("de", "en", "fr")[i % 3] for i in range(ROWS)],
    flags={"adult": np.arange(ROWS) % 5 == 0},
)

# Imports only TensorFlow, like a server.
BARE_PROCESS = """
import json, sys
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow.python.framework import op_def_registry

folder = sys.argv[1]
model = SavedModel()
model.ParseFromString(open(folder + "/model/saved_model.pb", "rb").read())
graph = model.meta_graphs[0].graph_def
functions = {function.signature.name for function in graph.library.function}
nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
ops = sorted({node.op for node in nodes} - functions)
report = {
    "ops": ops,
    "unknown": [op for op in ops if op_def_registry.get(op) is None],
    "scann": op_def_registry.get("Scann>ScannSearchBatched") is not None,
}
json.dump(report, open(folder + "/report.json", "w"))

loaded = tf.saved_model.load(folder + "/model")
given = {name: tf.constant(value) for name, value in np.load(folder + "/given.npz").items()}
found = {"plain_" + name: x.numpy() for name, x in loaded.signatures["plain"](embeddings=given["embeddings"]).items()}
found |= {"ruled_" + name: x.numpy() for name, x in loaded.signatures["ruled"](**given).items()}
np.savez(folder + "/found.npz", **{k: x.astype(bytes) if x.dtype == object else x for k, x in found.items()})
"""


def changed(backend):
    """Makes a layer with rows in the side block and some removed rows."""
    table = TABLE.take(np.arange(ROWS))
    layer = PrototypeRetrieval(k=4, backend=backend).index(table)
    layer.update(table, table.upsert(["new ü"], QUERIES[:1], languages=["xx"]))
    layer.update(table, table.remove(["phrase 3 ü", "phrase 77 ü"]))
    return layer


@pytest.fixture(scope="module", params=["ivf", "exact"])
def layer(request):
    return changed(request.param)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Returns the report and results of a bare process, and the results of this process."""
    layer, folder = changed("ivf"), tmp_path_factory.mktemp("export")
    rules = {
        "k": tf.TensorSpec([], tf.int32),
        "min_score": tf.TensorSpec([], tf.float32),
        "allow_languages": tf.TensorSpec([None], tf.string),
        "deny_languages": tf.TensorSpec([None], tf.string),
        "deny_flags": tf.TensorSpec([None], tf.string),
        "deny_ids": tf.TensorSpec([None], tf.int32),
    }

    @tf.function(input_signature=[tf.TensorSpec([None, DIM], name="embeddings")])
    def plain(embeddings):
        return layer(embeddings)._asdict()

    @tf.function
    def ruled(embeddings, k, min_score, **rules):
        return layer(embeddings, k, min_score, layer.filter(**rules))._asdict()

    specs = {name: tf.TensorSpec(spec.shape, spec.dtype, name) for name, spec in rules.items()}
    module = tf.Module()
    module.layer, module.plain = layer, plain
    module.ruled = ruled.get_concrete_function(tf.TensorSpec([None, DIM], name="embeddings"), **specs)
    tf.saved_model.save(module, folder / "model", {"plain": module.plain, "ruled": module.ruled})
    given = {
        "embeddings": QUERIES,
        "k": np.int32(2),
        "min_score": np.float32(0.9),
        "allow_languages": np.array([b"en", b"xx"]),
        "deny_languages": np.array([b"xx"]),
        "deny_flags": np.array([b"adult"]),
        "deny_ids": layer(tf.constant(QUERIES)).ids.numpy()[:, 0],
    }
    np.savez(folder / "given.npz", **given)
    done = run_fresh(BARE_PROCESS, [folder])
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads((folder / "report.json").read_text())
    where = layer.filter(
        ["en", "xx"], deny_languages=["xx"], deny_flags=["adult"], deny_ids=given["deny_ids"]
    )
    expected = layer(tf.constant(QUERIES)), layer(tf.constant(QUERIES), 2, 0.9, where)
    return report, np.load(folder / "found.npz"), expected


def test_export_holds_only_core_ops(exported):
    report = exported[0]
    assert report["unknown"] == [] and {"ResourceGather", "TopKV2"} <= set(report["ops"])
    assert not report["scann"]  # a missing op would have been reported
    assert not [op for op in report["ops"] if "Table" in op or op.startswith(("EagerPy", "PyFunc"))]


def test_export_finds_the_same_in_a_fresh_process(exported):
    _, found, expected = exported
    for name, tensors in zip(("plain", "ruled"), expected):
        for output, tensor in tensors._asdict().items():
            values = found[f"{name}_{output}"]
            if output == "scores":
                np.testing.assert_allclose(values, tensor, atol=1e-6)
            else:
                np.testing.assert_array_equal(values, tensor.numpy().astype(values.dtype))


def test_rules_as_tensors(exported):
    _, found, (plain, _) = exported
    ids = found["ruled_ids"]
    assert ids.shape == (6, 2) and plain.ids.shape == (6, 4)
    there = ids[ids >= 0]
    assert len(there) and (there % 3 == 1).all() and (there % 5 != 0).all()
    assert not np.isin(there, plain.ids.numpy()[:, 0]).any() and not np.isin(there, [3, 77]).any()
    assert (found["ruled_scores"][ids >= 0] >= 0.9).all() and (found["ruled_scores"][ids < 0] == -1).all()


def test_empty_and_wrong_rules_as_tensors(layer):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)] * 3)
    def ids(allow_languages, deny_languages, deny_flags):
        return layer(
            tf.constant(QUERIES), where=layer.filter(allow_languages, deny_languages, None, deny_flags)
        ).ids

    none = tf.constant([], tf.string)
    np.testing.assert_array_equal(ids(none, none, none), layer(tf.constant(QUERIES)).ids)
    assert (ids(tf.constant(["yy"]), none, none).numpy() == -1).all()
    with pytest.raises(tf.errors.InvalidArgumentError, match="flags must be columns of the table"):
        ids(none, none, tf.constant(["rude"]))


# === The search itself ===


def compiled(layer, where):
    if where is None:
        return tf.function(lambda q: layer.search(q), jit_compile=True), [tf.constant(QUERIES)]
    return tf.function(lambda q, w: layer.search(q, 2, 0.2, w), jit_compile=True), [
        tf.constant(QUERIES),
        where,
    ]


@pytest.fixture(params=["all", "where"])
def where(request, layer):
    if request.param == "all":
        return None
    return layer.filter(deny_languages=["de"], deny_flags=["adult"], deny_ids=[1, 2])


def test_no_strings_and_no_tables_in_the_search(layer, where):
    function, arguments = compiled(layer, where)
    graph = function.get_concrete_function(*arguments).graph.as_graph_def()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    assert any(node.op == "TopKV2" for node in nodes)
    for node in nodes:
        assert "Table" not in node.op and "String" not in node.op and node.op not in ("Assert", "PyFunc")
        types = [value.type for value in node.attr.values()] + [
            t for v in node.attr.values() for t in v.list.type
        ]
        assert tf.string.as_datatype_enum not in types, node.name


def test_xla_compiles_the_search_with_static_shapes(layer, where):
    function, arguments = compiled(layer, where)
    hlo = function.experimental_get_compiler_ir(*arguments)(stage="hlo")
    assert hlo.startswith("HloModule") and re.search(r"s32\[6,[24]\]", hlo)
    assert not re.search(r"\[[^\]]*<=", hlo)
    expected = (
        layer.search(tf.constant(QUERIES)) if where is None else layer.search(*arguments[:1], 2, 0.2, where)
    )
    ids, scores = function(*arguments)
    np.testing.assert_array_equal(ids, expected[0])
    np.testing.assert_allclose(scores, expected[1], atol=1e-5)


@pytest.mark.parametrize("rows", [0, 1])
def test_xla_compiles_the_search_for_a_single_query_and_for_none(layer, rows):
    search = tf.function(lambda q: layer.search(q, 3), jit_compile=True)
    hlo = search.experimental_get_compiler_ir(tf.constant(QUERIES[:rows]))(stage="hlo")
    assert not re.search(r"\[[^\]]*<=", hlo)
    for found, expected in zip(
        search(tf.constant(QUERIES[:rows])), layer.search(tf.constant(QUERIES[:rows]), 3)
    ):
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_compiled_search_sees_changes():
    table = TABLE.take(np.arange(ROWS))
    layer = PrototypeRetrieval(k=4).index(table)
    search = tf.function(lambda q: layer.search(q), jit_compile=True)
    first = search(tf.constant(QUERIES))[0].numpy()
    layer.update(table, table.remove([table.phrases[int(first[0, 0])]]))
    ids = table.upsert(["new"], QUERIES[1:2])
    layer.update(table, ids)
    for _ in range(2):
        found = search(tf.constant(QUERIES))[0].numpy()
        assert first[0, 0] not in found and found[1, 0] == ids[0]
        np.testing.assert_array_equal(found, layer.search(tf.constant(QUERIES))[0])
        assert layer.compact() == 0
