"""The end-to-end model saved and copied in every form of Keras, also in a fresh process."""

import copy
import pickle

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import ctxvision as cv
from tests.fresh_process import run_fresh
from tests.tiny_model import tiny_classifier

PICTURES = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3)).astype(np.uint8)

ANSWER = """
import pickle
import numpy as np
import tf_keras
from ctxvision import ContextClassifier  # known to Keras from here on
found = tf_keras.models.load_model("{folder}/{name}").predict(np.load("{folder}/pictures.npy"), verbose=0)
pickle.dump(found, open("{folder}/found.pickle", "wb"))
"""


@pytest.fixture(scope="module")
def model():
    return tiny_classifier("ivf", rows=5000)


def expect_the_same_in_a_fresh_process(model, folder, name, pictures=PICTURES):
    model.save(folder / name)
    np.save(folder / "pictures.npy", pictures)
    done = run_fresh(ANSWER.format(folder=str(folder), name=name), imports=("ctxvision", "tf_keras"))
    assert done.returncode == 0, done.stderr
    found = pickle.loads((folder / "found.pickle").read_bytes())
    assert_same(found, model.predict(pictures, verbose=0))


def assert_same(answers, expected):
    assert answers.keys() == expected.keys()
    for name, value in expected.items():
        if value.dtype.kind == "f":
            np.testing.assert_allclose(answers[name], value, atol=1e-6)
        else:
            np.testing.assert_array_equal(answers[name], value)


def copied(model):
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    return clone


@pytest.mark.parametrize(
    "form",
    [lambda m: pickle.loads(pickle.dumps(m)), copy.deepcopy, copied],
    ids=["pickle", "deepcopy", "clone"],
)
def test_copies_answer_the_same(model, form):
    again = form(model)
    assert_same(again.predict(PICTURES, verbose=0), model.predict(PICTURES, verbose=0))
    assert isinstance(again, cv.ContextClassifier) and again.labels == model.labels
    words = tf.constant(["phrase 7", "größe"])
    np.testing.assert_array_equal(again.text(words), model.text(words))
    assert again.text is not model.text and again.phrase_embeddings.encoder is again.text


@pytest.mark.parametrize("name", ["model.keras", "saved_model"])
def test_a_saved_model_answers_the_same_in_a_fresh_process(model, tmp_path, name):
    """Searches by inverted lists; the other tests search 12 rows exactly."""
    assert model.retrieval.get_config()["backend"] == "ivf"
    expect_the_same_in_a_fresh_process(model, tmp_path, name)


EVERY_FORM = """
import copy
import pickle
import numpy as np
import tf_keras
from ctxvision import ContextClassifier  # known to Keras from here on
folder = "{folder}"
forms = {{name: tf_keras.models.load_model(f"{{folder}}/{{name}}") for name in ("model.keras", "saved_model")}}
with open(f"{{folder}}/model.pickle", "rb") as file:
    forms["pickle"] = pickle.load(file)
forms["deepcopy"] = copy.deepcopy(forms["model.keras"])
forms["clone"] = tf_keras.models.clone_model(forms["pickle"])
forms["clone"].set_weights(forms["pickle"].get_weights())
pictures = np.load(f"{{folder}}/pictures.npy")
found = {{name: model.predict(pictures, verbose=0) for name, model in forms.items()}}
with open(f"{{folder}}/found.pickle", "wb") as file:
    pickle.dump(found, file)
"""


@pytest.fixture
def run_of_many_phrases(run):
    """The tiny run with so many phrases that `ivf` searches by inverted lists."""
    words = [f"word {i}" for i in range(5000)]
    prototypes = np.random.default_rng(0).normal(size=(len(words), 64))
    ngrams = run.context.text_encoder.ngrams(words)
    run.context.phrase_table.upsert(words, prototypes, counts=[9] * len(words), ngrams=ngrams)
    return cv.Run(run.directory)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["ivf", "exact"])
@pytest.mark.parametrize("added", ["concept", "phrase"])
def test_a_changed_and_fine_tuned_run_in_every_form(run_of_many_phrases, purple, tmp_path, backend, added):
    run = run_of_many_phrases
    if added == "concept":
        run.add_concept("mascot", purple)
    else:
        _ = run.classifier  # keeps the phrase beside its lists
        cv.add_phrase(run, "purple paint", purple, text="purple")
    model = run.classifier if backend == "ivf" else run.build_classifier(backend)
    searched = model.retrieval.get_config()["index"]["search"]["kind"]
    assert searched == {"ivf": "InvertedLists", "exact": "ExactSearch"}[backend]
    model.compile(keras.optimizers.Adam(0.001), "sparse_categorical_crossentropy")
    pictures = np.concatenate([purple, run.data.pictures("test:easy")[:5]])
    model.fit(pictures, np.arange(8) % 4, verbose=0)
    expected = model.predict(pictures, verbose=0)
    assert expected["probabilities"].shape == (8, 5 if added == "concept" else 4)
    if added == "phrase":
        assert (expected["phrases"][:3] == b"purple paint").any(axis=1).all()
    model.save(tmp_path / "model.keras")
    model.save(tmp_path / "saved_model")
    (tmp_path / "model.pickle").write_bytes(pickle.dumps(model))
    np.save(tmp_path / "pictures.npy", pictures)
    done = run_fresh(EVERY_FORM.format(folder=str(tmp_path)), imports=("ctxvision", "tf_keras"))
    assert done.returncode == 0, done.stderr
    found = pickle.loads((tmp_path / "found.pickle").read_bytes())
    assert set(found) == {"model.keras", "saved_model", "pickle", "deepcopy", "clone"}
    for answers in found.values():
        assert_same(answers, expected)


def test_training_resumes_from_a_checkpoint_of_the_whole_model(tmp_path):
    model = tiny_classifier()
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    callbacks = [
        keras.callbacks.ModelCheckpoint(str(tmp_path / "model.keras")),
        keras.callbacks.TensorBoard(str(tmp_path / "logs"), histogram_freq=1),
    ]
    labels = np.arange(4) % 2
    model.fit(PICTURES, labels, verbose=0, callbacks=callbacks)
    again = keras.models.load_model(tmp_path / "model.keras")
    assert_same(again.predict(PICTURES, verbose=0), model.predict(PICTURES, verbose=0))
    for one in (model, again):
        one.fusion.restart_dropout(0)
        one.fit(PICTURES, labels, verbose=0)
    assert_same(again.predict(PICTURES, verbose=0), model.predict(PICTURES, verbose=0))


def test_phrases_of_a_batch(model):
    assert_same(model.predict_on_batch(PICTURES), model.predict(PICTURES, verbose=0))


def test_a_file_that_holds_no_phrases_is_refused(model, tmp_path):
    with pytest.raises(
        ValueError, match="filepath must end in .keras or be the folder of a SavedModel, got .*h5'"
    ):
        model.save(tmp_path / "model.h5")


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float64"])
def test_every_dtype_policy(policy):
    model = tiny_classifier()
    keras.mixed_precision.set_global_policy(policy)
    try:
        again = tiny_classifier()
        again.set_weights(model.get_weights())
        found = again.predict(PICTURES, verbose=0)["probabilities"]
        again.compile("sgd", "sparse_categorical_crossentropy")
        again.fit(PICTURES, np.zeros(4, int), verbose=0)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, model.predict(PICTURES, verbose=0)["probabilities"], atol=0.05)
