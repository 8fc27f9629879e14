"""The tagger of a context, loaded with TensorFlow alone, answers like the context."""

import json

import numpy as np
import pytest

import ctxvision as cv
from tests.fresh_process import run_fresh

ALONE = """
import sys
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import op_def_registry

directory, picture, out = sys.argv[1:]
saved = saved_model_pb2.SavedModel()
saved.ParseFromString(open(directory + "/saved_model.pb", "rb").read())
graph = saved.meta_graphs[0].graph_def
ops = {node.op for node in graph.node}
ops |= {node.op for function in graph.library.function for node in function.node_def}
unknown = [op for op in ops if op_def_registry.get(op) is None or ">" in op]
loaded = tf.saved_model.load(directory)
encoded = tf.constant([open(picture, "rb").read(), b"none"])
arrays = {}
names, rules = tf.constant([], tf.string), ("allow_languages", "deny_languages", "allow_flags", "deny_flags")
ruled = {**dict.fromkeys(rules, names), "k": tf.constant(1), "min_score": tf.constant(-2.0)}
ruled |= {"deny_languages": tf.constant(["es"]), "deny_ids": tf.constant([], tf.int32)}
for name, more in (("serving_default", {}), ("filtered", ruled)):
    for key, value in loaded.signatures[name](image_bytes=encoded, **more).items():
        value = value.numpy()
        arrays[f"{name}/{key}"] = value.astype(bytes) if value.dtype == object else value
np.savez(out, **arrays)
print(sorted(loaded.signatures), unknown, [name for name in ("ctxvision", "tf_keras", "scann") if name in sys.modules])
"""


@pytest.fixture(scope="module")
def tagger(tiny_run, tmp_path_factory):
    return cv.export_context(tiny_run.context.directory, tmp_path_factory.mktemp("serving") / "tagger")


def test_tensorflow_alone_gives_the_phrases_of_the_context(tagger, tiny_run, tmp_path):
    path = tiny_run.data.split("test:easy").paths[0]
    done = run_fresh(ALONE, [tagger, path, tmp_path / "out.npz"])
    assert done.returncode == 0, done.stderr
    assert done.stdout == "['about', 'filtered', 'pixels', 'serving_default'] [] []\n"
    found = np.load(tmp_path / "out.npz")
    (told,) = cv.Context(tiny_run.context.directory).describe([path], k=8)
    phrases = [phrase.decode() for phrase in found["serving_default/phrases"][0]]
    assert set(phrases) == {one.phrase for one in told}
    np.testing.assert_allclose(
        found["serving_default/phrase_scores"][0], [one.score for one in told], atol=1e-4
    )
    assert found["serving_default/valid"].tolist() == [True, False]
    assert found["filtered/phrases"][0, 0].decode() == phrases[0]
    assert found["filtered/phrase_ids"].shape == (2, 1) and found["filtered/phrase_ids"][1, 0] == -1
    assert np.linalg.norm(found["serving_default/query_embedding"][0]) == pytest.approx(1, abs=1e-5)


def test_the_tagger_names_its_context_and_versions_count_up(tagger, tiny_run):
    about = json.loads((tagger / "assets" / "ctxvision.json").read_text())
    assert about["context"]["fingerprint"] == tiny_run.context.fingerprint and about["needs"] == []
    assert about["signatures"] == ["serving_default", "pixels", "filtered", "about"]
    assert not (tagger / "assets" / "labels.txt").exists()
    assert tagger.name == "1" and cv.export_context(tiny_run.context, tagger.parent, k=2).name == "2"


def test_a_tagger_is_not_a_classifier(tagger, tiny_run):
    path = tiny_run.data.split("test:easy").paths[0]
    with pytest.raises(cv.InputError, match="target must be a classifier, got .* ctxvision context describe"):
        cv.predict(tagger, [path])
