"""The export: answers of its signatures, its files, and loading with TensorFlow alone."""

import functools
import json

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow_serving.apis import prediction_log_pb2

import ctxvision as cv
from ctxvision.data import decode_picture
from ctxvision.data.decoding import decode_pictures
from ctxvision.layers.retrieval.inverted_lists import InvertedLists
from ctxvision.serving.loading import find_version, load_export
from ctxvision.serving.signatures import build_signatures
from tests.fresh_process import run_fresh
from tests.serving.conftest import LABELS, encode
from tests.tiny_model import IMAGE_SIZE, tiny_classifier

TOP, TOP_EXPLAINED = 5, 3
TEXTS = ["a caption", "", "Größe", "phrase 3", "two words", "  "]
CANDIDATES = np.random.default_rng(3).normal(size=(4, 10)).astype(np.float32)
ENCODED_LABELS = np.array([label.encode() for label in LABELS], object)
FRESH_PROCESS = """
import sys
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import op_def_registry

directory, given, out, library = sys.argv[1:5]
saved = saved_model_pb2.SavedModel()
saved.ParseFromString(open(directory + "/saved_model.pb", "rb").read())
graph = saved.meta_graphs[0].graph_def
ops = {node.op for node in graph.node}
ops |= {node.op for function in graph.library.function for node in function.node_def}
unknown = [op for op in sorted(ops) if op_def_registry.get(op) is None]
if library:
    __import__(library)
loaded = tf.saved_model.load(directory)
inputs = np.load(given, allow_pickle=True)
arrays = {}
pictures, pixels = tf.constant(inputs["image_bytes"].tolist()), tf.constant(inputs["pixels"])
texts, candidates = tf.constant(inputs["texts"].tolist()), tf.constant(inputs["candidates"])
asked = {
    "serving_default": {"image_bytes": pictures},
    "pixels": {"pixels": pixels},
    "pixels_float32": {"pixels": tf.cast(pixels, tf.float32)},
    "explain": {"image_bytes": pictures},
    "zero_shot": {"image_bytes": pictures, "candidate_embeddings": candidates},
    "with_context": {"image_bytes": pictures, "texts": texts},
    "about": {"fields": tf.constant(["labels", "nothing", "image_size"])},
}
if library == "tensorflow_text":
    asked["zero_shot"]["candidate_labels"] = texts
assert set(loaded.signatures) | {"with_context"} == {*asked, "embed"}
for name in loaded.signatures.keys() - {"embed"}:
    result = loaded.signatures[name](**asked[name])
    arrays.update({f"{name}/{output}": value.numpy() for output, value in result.items()})
with tf.compat.v1.Session(graph=tf.Graph()) as session:  # leaves out what it can, as requests to TF Serving do
    signature = tf.compat.v1.saved_model.load(session, ["serve"], directory).signature_def["embed"]
    fetches = {output: tensor.name for output, tensor in signature.outputs.items()}
    rule = {"k": 2, "deny_languages": ["de"], "deny_flags": ["adult"]}
    for name, given in (("embed", {}), ("filtered", rule)):
        given = {"image_bytes": inputs["image_bytes"], **given}
        result = session.run(fetches, {signature.inputs[key].name: value for key, value in given.items()})
        arrays.update({f"{name}/{output}": value for output, value in result.items()})
np.savez(out, **arrays)
print("unknown ops:", unknown)
extra = ("ctxvision", "tensorflow_text", "tensorflow_recommenders", "scann", "tf_keras")
print("imported:", [name for name in extra if name in sys.modules])
"""


@functools.cache
def loaded(directory):
    """An export that no test changes, loaded once."""
    return load_export(directory)


def answer_of(directory, images, signature="serving_default"):
    function = loaded(directory).signatures[signature]
    return {k: v.numpy() for k, v in function(image_bytes=tf.constant(images, tf.string)).items()}


def in_fresh_process(directory, images, pixels, tmp_path, library=""):
    texts, candidates = np.array(TEXTS, object), CANDIDATES
    np.savez(
        tmp_path / "given.npz",
        image_bytes=np.array(images, object),
        pixels=pixels,
        texts=texts,
        candidates=candidates,
    )
    given, out = str(tmp_path / "given.npz"), str(tmp_path / "out.npz")
    done = run_fresh(FRESH_PROCESS, [directory, given, out, library], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    return dict(np.load(out, allow_pickle=True)), done.stdout


def expect_parity(arrays, model, pixels):
    """Compares the answers of all signatures with the model in memory, to 1e-5."""
    expected = {key: value.numpy() for key, value in model(pixels).items()}
    for name in ("serving_default", "pixels", "pixels_float32"):
        np.testing.assert_allclose(arrays[f"{name}/probabilities"], expected["probabilities"], atol=1e-5)
        np.testing.assert_allclose(arrays[f"{name}/phrase_scores"], expected["phrase_scores"], atol=1e-5)
        assert np.array_equal(arrays[f"{name}/phrases"], expected["phrases"])
        assert arrays[f"{name}/valid"].all()
    explained = {key: value.numpy() for key, value in cv.explain(model, pixels, TOP_EXPLAINED).items()}
    for key, inside in (("scores", "scores"), ("phrase_shares", "shares"), ("visual_shares", "visual")):
        np.testing.assert_allclose(arrays[f"explain/{key}"], explained[inside], atol=1e-5)
    assert np.array_equal(arrays["explain/labels"], ENCODED_LABELS[explained["label_ids"]])

    queries = model.phrase_generator(pixels)
    rule = {"k": 2, "where": model.retrieval.filter(deny_languages=["de"], deny_flags=["adult"])}
    for name, asked in (("embed", {}), ("filtered", rule)):
        found = model.retrieval(queries, **asked)
        assert np.array_equal(arrays[f"{name}/phrase_ids"], found.ids)
        assert np.array_equal(arrays[f"{name}/phrases"], found.phrases)
        context = model.pooling([model.phrase_embeddings(found.ids), found.scores])
        for key, inside in (
            ("query_embedding", queries),
            ("visual", model.visual_encoder(pixels)),
            ("context", context),
            ("phrase_scores", found.scores),
        ):
            np.testing.assert_allclose(arrays[f"{name}/{key}"], inside, atol=1e-5)

    found = model.retrieval(queries)
    context = model.pooling([model.phrase_embeddings(found.ids), found.scores])
    candidates = np.concatenate([CANDIDATES, model.text(tf.constant(TEXTS))])
    candidates = candidates[: arrays["zero_shot/scores"].shape[1]]
    beyond = context.numpy() - model.fusion.average_input(1)
    lengths = np.linalg.norm(beyond, axis=1)[:, None] * np.linalg.norm(candidates, axis=1)
    expected = beyond @ candidates.T / np.where(lengths, lengths, 1.0)
    np.testing.assert_allclose(arrays["zero_shot/scores"], expected, atol=1e-5)
    about = [json.loads(value) if value else None for value in arrays["about/values"]]
    assert about == [LABELS, None, IMAGE_SIZE]


@pytest.mark.parametrize(
    ("backend", "rows"), [pytest.param("exact", 12, marks=pytest.mark.slow), ("ivf", 5000)]
)
def test_tensorflow_alone_agrees_with_the_model_and_knows_every_op(backend, rows, images, tmp_path):
    model = tiny_classifier(backend, rows=rows, labels=LABELS)
    assert isinstance(model.retrieval._search, InvertedLists) == (backend == "ivf")
    cv.export_saved_model(model, tmp_path / "1")
    pixels = np.stack([decode_picture(image, IMAGE_SIZE) for image in images])
    arrays, printed = in_fresh_process(tmp_path / "1", images, pixels, tmp_path)
    expect_parity(arrays, model, pixels)
    described = json.loads((tmp_path / "1/assets/ctxvision.json").read_text())
    assert (described["retrieval"], described["needs"]) == (backend, [])
    assert len(np.unique(arrays["serving_default/labels"][:, 0])) > 1, "all pictures alike would show little"
    assert "unknown ops: []" in printed
    assert "imported: []" in printed


@pytest.mark.slow
def test_scann_agrees_with_the_model_once_its_ops_are_imported(images, tmp_path):
    model = tiny_classifier("scann", rows=5000, labels=LABELS)
    cv.export_saved_model(model, tmp_path / "1")
    pixels = np.stack([decode_picture(image, IMAGE_SIZE) for image in images])
    arrays, printed = in_fresh_process(tmp_path / "1", images, pixels, tmp_path, "scann")
    expect_parity(arrays, model, pixels)
    assert "Scann>" in printed
    assert "imported: ['scann']" in printed
    assert json.loads((tmp_path / "1/assets/ctxvision.json").read_text())["needs"] == ["scann"]


@pytest.mark.slow
def test_with_text_the_callers_words_count(images, tmp_path):
    model = tiny_classifier(labels=LABELS)
    cv.export_saved_model(model, tmp_path / "1", with_text=True)
    pixels = np.stack([decode_picture(image, IMAGE_SIZE) for image in images])
    arrays, printed = in_fresh_process(tmp_path / "1", images, pixels, tmp_path, "tensorflow_text")
    expect_parity(arrays, model, pixels)
    assert json.loads((tmp_path / "1/assets/ctxvision.json").read_text())["needs"] == ["tensorflow_text"]
    assert "TFText>" in printed and "imported: ['tensorflow_text'" in printed

    found = model.retrieval(model.phrase_generator(pixels))
    context = model.pooling([model.phrase_embeddings(found.ids), found.scores])
    mixed = 0.6 * context + 0.4 * model.text(tf.constant(TEXTS))
    expected = model.fuse(model.visual_encoder(pixels), mixed, model.phrase_generator(pixels)).numpy()
    found, without = arrays["with_context/probabilities"], arrays["serving_default/probabilities"]
    given = np.array([bool(text.strip()) for text in TEXTS])
    np.testing.assert_allclose(found[given], expected[given], atol=1e-5)
    for output in ("probabilities", "labels", "scores", "phrases", "phrase_scores", "valid"):
        same = arrays[f"with_context/{output}"][~given] == arrays[f"serving_default/{output}"][~given]
        assert same.all(), f"{output} without words is that of serving_default to the bit"
    assert (found[given] != without[given]).any(axis=1).all()


def test_each_picture_needs_a_text(images):
    signatures = build_signatures(tiny_classifier(labels=LABELS), with_text=True).signatures
    with pytest.raises(tf.errors.InvalidArgumentError, match="texts must be as many as image_bytes"):
        signatures["with_context"](image_bytes=tf.constant(images), texts=tf.constant(["one"]))


def test_labels_are_sorted_by_score(model, export_directory, images):
    answer = answer_of(export_directory, images)
    order = np.argsort(-answer["probabilities"], axis=1)[:, :TOP]
    assert np.array_equal(answer["labels"], ENCODED_LABELS[order])
    np.testing.assert_array_equal(
        answer["scores"], np.take_along_axis(answer["probabilities"], order, axis=1)
    )


def test_a_broken_picture_does_not_affect_the_others(export_directory, images):
    broken = [b"", b"no picture", images[1][: len(images[1]) // 2], b"\x89PNG", b"BM"]
    batch = [images[0], *broken, images[3]]
    for signature in ("serving_default", "explain"):
        alone = answer_of(export_directory, [images[0], images[3]], signature)
        mixed = answer_of(export_directory, batch, signature)
        assert mixed["valid"].tolist() == [True, False, False, False, False, False, True]
        for key, value in mixed.items():
            assert np.array_equal(
                value[1:-1], np.full_like(value[1:-1], b"" if value.dtype == object else 0)
            ), key
            if value.dtype == np.float32:
                np.testing.assert_allclose(value[[0, -1]], alone[key], atol=1e-6)
            else:
                assert np.array_equal(value[[0, -1]], alone[key])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_not_finite_are_not_valid(model, export_directory, value):
    pixels = np.random.default_rng(0).uniform(0, 255, (3, 16, 16, 3)).astype(np.float32)
    pixels[1, 7, 7, 0] = value
    asked = tf.saved_model.load(str(export_directory / "2")).signatures["pixels_float32"]
    answer = {key: found.numpy() for key, found in asked(pixels=tf.constant(pixels)).items()}
    assert answer["valid"].tolist() == [True, False, True]
    assert not answer["probabilities"][1].any() and (answer["labels"][1] == b"").all()
    expected = model(pixels[[0, 2]])["probabilities"]
    np.testing.assert_allclose(answer["probabilities"][[0, 2]], expected, atol=1e-5)


@pytest.mark.parametrize("batch", [[], [b"x"], [b"x", b""]])
def test_empty_batches_and_batches_without_a_picture(export_directory, batch):
    answer = answer_of(export_directory, batch)
    assert answer["valid"].tolist() == [False] * len(batch)
    assert answer["probabilities"].shape == (len(batch), len(LABELS)) and not answer["probabilities"].any()
    assert answer["labels"].shape == (len(batch), TOP) and answer["phrases"].shape == (len(batch), 3)


def test_decoding_keeps_the_order_of_many_pictures():
    colours = np.arange(40, dtype=np.uint8) * 6
    encoded = [encode(np.full((9 + i, 7, 3), colour, np.uint8)) for i, colour in enumerate(colours)]
    encoded[17] = b"broken"
    pixels, valid = decode_pictures(tf.constant(encoded), 4)
    expected = np.where(np.arange(40) == 17, 0, colours)
    assert np.array_equal(pixels, np.broadcast_to(expected[:, None, None, None], (40, 4, 4, 3)))
    assert np.array_equal(valid, np.arange(40) != 17)


def test_all_signatures_share_one_graph_that_decodes(export_directory):
    """Also those with optional inputs, which TensorFlow traces again when it saves them."""
    saved = SavedModel.FromString((export_directory / "2" / "saved_model.pb").read_bytes())
    names = [function.signature.name for function in saved.meta_graphs[0].graph_def.library.function]
    for part in ("_decode_gif", "_in_segments", "_decode_webp"):
        assert len([name for name in names if part in name]) == 1


def test_all_signatures_share_one_trace_of_each_conv_net(model, export_directory):
    def convolutions(graph_def):
        nodes = [
            *graph_def.node,
            *(node for function in graph_def.library.function for node in function.node_def),
        ]
        return sum(node.op in ("Conv2D", "DepthwiseConv2dNative") for node in nodes)

    saved = SavedModel.FromString((export_directory / "2" / "saved_model.pb").read_bytes())
    embed = tf.function(model.embed).get_concrete_function(tf.TensorSpec([None, IMAGE_SIZE, IMAGE_SIZE, 3]))
    assert convolutions(saved.meta_graphs[0].graph_def) == convolutions(embed.graph.as_graph_def()) > 0


def test_answers_that_are_not_finite_are_not_valid(images):
    model = tiny_classifier(labels=LABELS)
    model.fusion.members[0].output_stage.bias.assign(np.full(len(LABELS), np.nan))
    signatures = build_signatures(model).signatures
    answer = signatures["serving_default"](image_bytes=tf.constant(images))
    assert not answer["valid"].numpy().any() and not answer["probabilities"].numpy().any()
    assert (answer["labels"].numpy() == b"").all()


def test_files_beside_the_saved_model(export_directory):
    assets = export_directory / "2" / "assets"
    described = json.loads((assets / "ctxvision.json").read_text(encoding="utf-8"))
    assert described["labels"] == LABELS and described["needs"] == []
    assert (assets / "labels.txt").read_text(encoding="utf-8").splitlines() == LABELS
    assert set(described["signatures"]) == set(loaded(export_directory).signatures)
    assert described["versions"]["tensorflow"] == tf.__version__
    leftovers = [path.name for path in export_directory.iterdir() if path.name != "2"]
    assert leftovers == []


def test_warmup_covers_every_signature_at_both_batches(tmp_path):
    cv.export_saved_model(tiny_classifier(labels=LABELS), tmp_path / "1", with_text=True)
    export = load_export(tmp_path)
    records = tf.data.TFRecordDataset(str(tmp_path / "1/assets.extra/tf_serving_warmup_requests"))
    asked = []
    for record in records.as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        name = request.model_spec.signature_name
        given = {**export.signature_defs[name].defaults, **request.inputs}
        inputs = {key: tf.constant(tf.make_ndarray(proto)) for key, proto in given.items()}
        answer = export.signatures[name](**inputs)
        (batch,) = {value.shape[0] for value in answer.values()}
        asked.append((name, batch))
        if name != "about":
            assert answer["valid"].numpy().all(), "the pictures asked for are pictures"
    assert sorted(asked) == sorted((name, batch) for name in export.signatures for batch in (1, 32))


@pytest.mark.parametrize("name", ["latest", "1.5", "-1", "²"])
def test_refuses_a_directory_that_is_not_a_version(model, tmp_path, name):
    with pytest.raises(
        cv.InputError, match="directory must end in a version, a whole number as in 'serving/1', got"
    ):
        cv.export_saved_model(model, tmp_path / name)
    assert not any(tmp_path.iterdir())


def test_refuses_an_existing_version(model, tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "file").write_text("mine")
    with pytest.raises(
        cv.InputError, match="directory must not hold anything yet, got .*export to the next version"
    ):
        cv.export_saved_model(model, tmp_path / "1")
    assert (tmp_path / "1" / "file").read_text() == "mine"


def test_refuses_a_backend_other_than_the_models(model, tmp_path):
    match = r"retrieval must be the model's backend 'exact', got 'scann': build the classifier with"
    with pytest.raises(cv.InputError, match=match):
        cv.export_saved_model(model, tmp_path / "1", retrieval="scann")
    assert not any(tmp_path.iterdir())


def test_scann_below_4096_rows_needs_no_op_library(tmp_path):
    cv.export_saved_model(tiny_classifier("scann"), tmp_path / "1", retrieval="scann")
    assert json.loads((tmp_path / "1/assets/ctxvision.json").read_text())["needs"] == []


def test_a_kill_at_the_last_moment_leaves_no_version(model, tmp_path, monkeypatch):
    seen = []

    def die(*_):
        seen.extend(path.name for path in tmp_path.iterdir())
        with pytest.raises(cv.InputError, match="directory must hold an export"):
            find_version(tmp_path)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("ctxvision.serving.export.write_warmup", die)
        with pytest.raises(KeyboardInterrupt):
            cv.export_saved_model(model, tmp_path / "1")
    assert not any(tmp_path.iterdir()), "what can be cleared up is"
    # The files that a kill -9 leaves do not disturb a new export.
    (name,) = seen
    assert name.startswith(".")
    (tmp_path / name).mkdir()
    (tmp_path / name / "saved_model.pb").write_text("half")
    cv.export_saved_model(model, tmp_path / "1")
    assert find_version(tmp_path) == tmp_path / "1"
