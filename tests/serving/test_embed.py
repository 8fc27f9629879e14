"""The signature `embed` over gRPC: defaults of inputs, filters, and sentences for bad input."""

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from ctxvision.data import decode_picture
from ctxvision.serving import Server
from tests.tiny_model import IMAGE_SIZE, tiny_table

TABLE = tiny_table()
LANGUAGES, ADULT, ROWS = np.array(TABLE.languages), np.array(TABLE.flags["adult"]), np.arange(len(TABLE))
K = 3
# Inputs of a request, and the rows that pass them.
ASKED = {
    "nothing": ({}, ROWS >= 0),
    "all built": ({"k": K}, ROWS >= 0),
    "fewer": ({"k": 1}, ROWS >= 0),
    "least score": ({"min_score": 0.1}, ROWS >= 0),
    "languages": ({"allow_languages": ["de", "fr"]}, LANGUAGES != "en"),
    "a language that none has": ({"allow_languages": ["xx"]}, ROWS < 0),
    "no languages": ({"deny_languages": ["de"]}, LANGUAGES != "de"),
    "flags": ({"allow_flags": ["adult"]}, ADULT),
    "no flags": ({"deny_flags": ["adult"]}, ~ADULT),
    "no ids": ({"deny_ids": [0, 3, 7, 99]}, ~np.isin(ROWS, [0, 3, 7])),
    "fewer than k are left": ({"deny_ids": list(range(2, 12))}, ROWS < 2),
    "all together": (
        {
            "k": 2,
            "min_score": 0.0,
            "allow_languages": ["en", "de"],
            "deny_languages": ["de"],
            "allow_flags": ["adult"],
            "deny_flags": [],
            "deny_ids": [0],
        },
        (LANGUAGES == "en") & ADULT & (ROWS != 0),
    ),
}
DTYPES = {"k": tf.int32, "min_score": tf.float32, "deny_ids": tf.int32}


@pytest.fixture(scope="module")
def ask(export_directory):
    """Returns a function from pictures and inputs to the answer."""
    with (
        Server(export_directory, port=0) as server,
        grpc.insecure_channel(f"localhost:{server.port}") as channel,
    ):
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

        def ask(images, **given):
            request = predict_pb2.PredictRequest()
            request.model_spec.name, request.model_spec.signature_name = "default", "embed"
            for key, value in {"image_bytes": images, **given}.items():
                request.inputs[key].CopyFrom(tf.make_tensor_proto(value, DTYPES.get(key, tf.string)))
            response = stub.Predict(request, timeout=20)
            return {key: tf.make_ndarray(value) for key, value in response.outputs.items()}

        yield ask


def nearest(queries, keeps, k=K, min_score=-2.0, **_):
    """Computes ids, scores and phrases of the best rows that pass, with NumPy."""
    scores = np.where(keeps, queries @ TABLE.prototypes.T, -np.inf)
    ids = np.argsort(-scores, axis=1)[:, :k]
    scores = np.take_along_axis(scores, ids, axis=1)
    there = scores >= min_score
    phrases = np.array([phrase.encode() for phrase in TABLE.phrases], object)[ids]
    return np.where(there, ids, -1), np.where(there, scores, -1), np.where(there, phrases, b"")


@pytest.mark.parametrize("case", ASKED)
def test_a_request_gets_the_phrases_of_its_rules(case, ask, model, images):
    given, keeps = ASKED[case]
    answer = ask(images, **given)
    pixels = np.stack([decode_picture(image, IMAGE_SIZE) for image in images])
    queries = model.phrase_generator(pixels).numpy()
    ids, scores, phrases = nearest(queries, keeps, **given)
    if case == "least score":
        assert 0 < np.count_nonzero(ids < 0) < ids.size, "a case that shows nothing"
    np.testing.assert_array_equal(answer["phrase_ids"], ids)
    np.testing.assert_array_equal(answer["phrases"], phrases)
    np.testing.assert_allclose(answer["phrase_scores"], scores, atol=1e-5)
    np.testing.assert_allclose(answer["query_embedding"], queries, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(answer["query_embedding"], axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(answer["visual"], model.visual_encoder(pixels), atol=1e-5)
    context = model.pooling([model.phrase_embeddings(tf.constant(ids)), tf.constant(scores, tf.float32)])
    np.testing.assert_allclose(answer["context"], context, atol=1e-5)
    assert answer["valid"].all() and len(answer) == 7


def test_the_other_signatures_equal_embed_without_rules(ask, model, images):
    pixels = np.stack([decode_picture(image, IMAGE_SIZE) for image in images])
    np.testing.assert_array_equal(ask(images)["phrase_ids"], model(pixels)["phrase_ids"])


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"k": 4}, "k must be a whole number from 1 to 3, the k of the layer, got 4: correct it."),
        ({"k": 0}, "k must be a whole number from 1 to 3, the k of the layer, got 0: correct it."),
        ({"allow_flags": ["rude"]}, "flags must be columns of the table, ['adult'], got rude: correct it."),
        (
            {"deny_flags": ["adult", "rude"]},
            "flags must be columns of the table, ['adult'], got adult rude: correct it.",
        ),
        (
            {"deny_languages": [[b"de"]]},
            "deny_languages must be DT_STRING [any], got DT_STRING [1, 1]: send that type and shape.",
        ),
    ],
)
def test_refused_inputs(given, sentence, ask, images):
    with pytest.raises(grpc.RpcError) as error:
        ask(images, **given)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert error.value.details() == sentence
    assert ask(images[:1])["valid"].all(), "the server lives on"


def test_a_broken_picture_does_not_affect_the_others(ask, images):
    alone, mixed = ask([images[0], images[2]]), ask([images[0], b"no picture", images[2]])
    assert mixed["valid"].tolist() == [True, False, True]
    for key, value in mixed.items():
        if value.dtype == np.float32:
            np.testing.assert_allclose(value[[0, 2]], alone[key], atol=1e-6)
            assert not value[1].any()
        else:
            assert np.array_equal(value[[0, 2]], alone[key])
    assert mixed["phrase_ids"][1].tolist() == [-1] * K and mixed["phrases"][1].tolist() == [b""] * K


@pytest.mark.parametrize("batch", [[], [b""]])
def test_batches_without_a_picture(batch, ask):
    answer = ask(batch, k=2)
    assert answer["valid"].tolist() == [False] * len(batch)
    assert answer["phrase_ids"].tolist() == [[-1, -1]] * len(batch)
    assert answer["query_embedding"].shape == (len(batch), 64)
