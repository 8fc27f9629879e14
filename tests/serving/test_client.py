"""Predictions by file name, from a folder and from a server, and the client without ctxvision."""

import dataclasses
import json
import shutil
import socket

import numpy as np
import pytest
import tensorflow as tf

import ctxvision as cv
from ctxvision.data import decode_picture
from ctxvision.serving import Prediction, Server, ServingError, asking, format_prediction, predict
from ctxvision.serving.predictions import Explanation, predictions_of
from tests.serving.conftest import LABELS, encode
from tests.tiny_model import IMAGE_SIZE, tiny_classifier


@pytest.fixture(scope="module")
def address(export_directory):
    with Server(export_directory, port=0) as server:
        yield f"localhost:{server.port}"


def test_folder_version_and_server_answer_like_the_model(model, export_directory, address, image_files):
    pixels = np.stack([decode_picture(tf.io.read_file(file), IMAGE_SIZE) for file in image_files])
    probabilities = model(pixels)["probabilities"].numpy()
    for target in (export_directory, export_directory / "2", address):
        found = predict(target, image_files)
        assert [p.path for p in found] == image_files
        assert [p.label for p in found] == [LABELS[i] for i in probabilities.argmax(axis=1)]
        np.testing.assert_allclose([p.score for p in found], probabilities.max(axis=1), atol=1e-5)
        assert all(len(p.top) == 5 and len(p.phrases) == 3 and p.explanation is None for p in found)


def test_an_export_is_loaded_once_until_its_files_change(export_directory, image_files, tmp_path):
    copy = shutil.copytree(export_directory / "2", tmp_path / "2")
    first = predict(copy, image_files)
    kept = dict(asking._loaded)
    assert predict(tmp_path, image_files) == first and asking._loaded == kept
    shutil.rmtree(copy)
    cv.export_saved_model(tiny_classifier(labels=[f"new {label}" for label in LABELS]), copy)
    assert [one.label for one in predict(tmp_path, image_files)] == [f"new {one.label}" for one in first]


def test_explain_tells_what_each_phrase_adds_to_the_top_label(model, address, image_files):
    (found,) = predict(address, image_files[2:3], explain=True)
    pixels = decode_picture(tf.io.read_file(image_files[2]), IMAGE_SIZE)[tf.newaxis]
    expected = cv.explain(model, pixels, 1)
    told = found.explanation
    np.testing.assert_allclose(told.phrase_shares, expected["shares"][0, 0], atol=1e-5)
    assert told.visual_share == pytest.approx(float(expected["visual"][0, 0]), abs=1e-5)
    assert told.query_share == pytest.approx(float(expected["query"][0, 0]), abs=1e-5)
    total = told.visual_share + told.query_share + sum(told.phrase_shares)
    assert total == pytest.approx(found.score - told.prior_score, abs=1e-4)


def test_top1_over_grpc_equals_python_for_100_pictures_in_several_requests(model, address, images, tmp_path):
    rng = np.random.default_rng(5)
    pictures = rng.integers(0, 256, (100, 1, 1, 3)) + rng.integers(-60, 60, (100, 16, 16, 3))
    pictures = np.clip(pictures, 0, 255).astype(np.uint8)
    files = [tmp_path / f"{i}.png" for i in range(100)]
    for file, picture in zip(files, pictures, strict=True):
        file.write_bytes(encode(picture))
    expected = model(pictures)["probabilities"].numpy().argmax(axis=1)
    assert [p.label for p in predict(address, files)] == [LABELS[i] for i in expected]
    assert len(set(expected)) > 2


def test_json_has_names_instead_of_pairs():
    plain = Prediction("a.png", "cat", 0.75, [("cat", 0.75), ("dog", 0.25)], [("black cat", 0.5)])
    expected = {
        "path": "a.png",
        "label": "cat",
        "score": 0.75,
        "top": [{"label": "cat", "score": 0.75}, {"label": "dog", "score": 0.25}],
        "phrases": [{"phrase": "black cat", "score": 0.5}],
    }
    assert json.loads(json.dumps(plain.to_json())) == expected
    explained = dataclasses.replace(plain, explanation=Explanation(0.25, 0.05, [0.125], [0], 0.325))
    expected["phrases"][0]["share"] = 0.125
    expected |= {"visual_share": 0.25, "query_share": 0.05, "prior_score": 0.325}
    assert explained.to_json() == expected


def test_text_is_aligned():
    found = Prediction(
        "a.png",
        "cat",
        0.75,
        [("cat", 0.75), ("dog", 0.2)],
        [("black cat", 0.5), ("a kitten in the snow", 0.25), ("a dark cat", 0.2)],
        Explanation(0.25, 0.05, [0.1, -0.02, 0.025], [0, 1, 0], 0.35),
    )
    assert format_prediction(found).splitlines() == [
        "a.png",
        "  cat                    75.0%  ###############",
        "  dog                    20.0%  ####",
        "  phrases                score",
        "  black cat               0.50",
        "  a kitten in the snow    0.25",
        "  a dark cat              0.20",
    ]
    assert format_prediction(found, explain=True).splitlines()[3:] == [
        "  cat: picture +25.0, phrase generator +5.0, phrases +10.5 points",
        "  black cat, a dark cat   +12.5 points",
        "  a kitten in the snow     -2.0 points",
    ]


def test_places_without_a_phrase_are_left_out():
    answer = {
        "valid": np.array([True]),
        "labels": np.array([[b"cat"]], object),
        "scores": np.array([[0.75]]),
        "phrases": np.array([[b"black cat", b""]], object),
        "phrase_scores": np.array([[0.5, -1.0]]),
        "phrase_shares": np.array([[[0.125, 0.0]]]),
        "phrase_groups": np.array([[0, 1]]),
        "visual_shares": np.array([[0.25]]),
        "query_shares": np.array([[0.05]]),
        "prior_scores": np.array([[0.325]]),
    }
    (found,) = predictions_of(["a.png"], [b""], answer, explain=True)
    assert found.phrases == [("black cat", 0.5)] and found.explanation.phrase_shares == [0.125]


def test_refuses_missing_files_and_files_that_are_not_pictures(
    export_directory, address, image_files, tmp_path
):
    with pytest.raises(
        cv.InputError, match=r"image must be a file, got '.*nowhere.png', which does not exist"
    ):
        predict(export_directory, [image_files[0], tmp_path / "nowhere.png"])
    text = tmp_path / "text.png"
    text.write_text("no picture")
    for target in (export_directory, address):
        with pytest.raises(
            cv.InputError,
            match=r"image must be a JPEG, PNG, GIF, BMP or still WebP picture, got '.*text.png'",
        ):
            predict(target, [image_files[0], text])


@pytest.mark.parametrize(
    "target", ["nowhere", "localhost:", "localhost:99999", "localhost:0", "a b:8500", "x/y:80"]
)
def test_refuses_targets_that_are_neither_folder_nor_address(target, image_files):
    with pytest.raises(
        cv.InputError, match="target must be the folder of an export or HOST:PORT of a server, got"
    ):
        predict(target, image_files)


def test_refuses_folders_without_an_export_of_ctxvision(tmp_path, image_files):
    with pytest.raises(cv.InputError, match="directory must hold an export as DIR/<version>/saved_model.pb"):
        predict(tmp_path, image_files)
    other = tf.Module()
    other.double = tf.function(lambda x: {"y": 2 * x}, [tf.TensorSpec([], tf.float32, name="x")])
    tf.saved_model.save(other, str(tmp_path / "1"), signatures=other.double.get_concrete_function())
    with pytest.raises(
        cv.InputError, match="must be an export of ctxvision with the signature 'serving_default'"
    ):
        predict(tmp_path, image_files)


def test_a_server_that_does_not_answer_or_refuses(address, export_directory, image_files):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ServingError, match=f"no server answers at 127.0.0.1:{port}: start one with"):
        predict(f"127.0.0.1:{port}", image_files)
    with (
        Server(export_directory, port=0, rest_port=0) as server,
        pytest.raises(
            ServingError, match="must speak gRPC, it speaks HTTP, as the REST port does: give its gRPC port"
        ),
    ):
        predict(f"127.0.0.1:{server.rest_port}", image_files)
    with pytest.raises(
        ServingError, match=rf"the server at {address} refused \(NOT_FOUND\): Servable not found"
    ):
        predict(address, image_files, name="other")


def test_the_five_phrases_with_the_largest_shares_are_printed():
    phrases = [(f"phrase {place}", 0.9 - place / 10) for place in range(7)]
    shares = [0.0, 0.3, -0.2, 0.01, 0.1, 0.0, 0.2]
    told = Explanation(0.1, 0.0, shares, list(range(7)), 0.1)
    found = Prediction("a.png", "cat", 0.8, [("cat", 0.8)], phrases, told)
    printed = [
        line.split("  ")[1]
        for line in format_prediction(found, explain=True).splitlines()
        if line.startswith("  phrase ")
    ]
    assert printed == ["phrase 1", "phrase 2", "phrase 6", "phrase 4", "phrase 3"]
    printed = [
        line.split("  ")[1] for line in format_prediction(found).splitlines() if line.startswith("  phrase ")
    ]
    assert printed == [f"phrase {place}" for place in range(5)]


def test_a_proxy_is_not_used_for_this_machine_and_is_named_in_errors(address, image_files, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert predict(address.replace("localhost", "127.0.0.1"), image_files[:1])
    sentence = (
        "no server answers at 192.0.2.1:8500 through the proxy http://127.0.0.1:9 that the environment names"
    )
    with pytest.raises(ServingError, match=sentence):
        predict("192.0.2.1:8500", image_files[:1])
