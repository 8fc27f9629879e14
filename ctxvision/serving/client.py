"""Predictions for picture files, by an export on disk or by a server."""

import dataclasses
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from ctxvision.data.refused_pictures import READABLE, reason_of
from ctxvision.errors import InputError
from ctxvision.serving.devserver.prediction import MESSAGE_BYTES
from ctxvision.serving.loading import load_export
from ctxvision.serving.shares import joined_shares

_PICTURES_PER_REQUEST = 16
_BYTES_PER_REQUEST = MESSAGE_BYTES // 2
_TIMEOUT_SECONDS = 60
SHOWN_PHRASES = 5

Answer = dict[str, np.ndarray]


class ServingError(RuntimeError):
    """A server that does not answer, or not as an export of this library would."""


@dataclasses.dataclass(frozen=True)
class Explanation:
    """What the parts of a picture add to the probability of its first label; see `ctxvision.explain`.

    The shares sum to the label's score less `prior_score`.

    Attributes:
        visual_share: of the picture as the visual encoder sees it.
        query_share: of what the phrase generator sees, beyond the phrases.
        phrase_shares: of each phrase, in the order of `Prediction.phrases`.
        groups: for each phrase a number, the same for phrases that say nearly the same.
        prior_score: the label's probability where nothing is seen.
    """

    visual_share: float
    query_share: float
    phrase_shares: list[float]
    groups: list[int]
    prior_score: float

    @property
    def sentence(self) -> str:
        """Such as "picture +21.0, phrase generator +3.1, phrases +43.2 points"."""
        parts = {
            "picture": self.visual_share,
            "phrase generator": self.query_share,
            "phrases": sum(self.phrase_shares),
        }
        return ", ".join(f"{name} {100 * share:+.1f}" for name, share in parts.items()) + " points"


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a picture shows.

    Attributes:
        path: the picture's file.
        label: the most probable label.
        score: its probability.
        top: up to five labels (three where shares were asked for) with their probabilities, the most probable
            first.
        phrases: what people would search for to find the picture, with cosine scores, the best first.
        explanation: what the parts add to the probability of `label`; None where it was not asked for.
        accepted: whether each of `top` passes its label's threshold; None for a model of one label a picture.
    """

    path: str
    label: str
    score: float
    top: list[tuple[str, float]]
    phrases: list[tuple[str, float]]
    explanation: "Explanation | None" = None
    accepted: list[bool] | None = None

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON's own types, with named fields instead of pairs."""
        told = self.explanation
        shares = [None] * len(self.phrases) if told is None else told.phrase_shares
        accepted = self.accepted if self.accepted is not None else [None] * len(self.top)
        result: dict[str, Any] = {
            "path": self.path,
            "label": self.label,
            "score": self.score,
            "top": [
                {"label": label, "score": score, **({} if passed is None else {"accepted": passed})}
                for (label, score), passed in zip(self.top, accepted, strict=True)
            ],
            "phrases": [
                {"phrase": phrase, "score": score, **({} if share is None else {"share": share})}
                for (phrase, score), share in zip(self.phrases, shares, strict=True)
            ],
        }
        if told is None:
            return result
        return {
            **result,
            "visual_share": told.visual_share,
            "query_share": told.query_share,
            "prior_score": told.prior_score,
        }


def predict(
    target: str | os.PathLike[str],
    images: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    explain: bool = False,
    name: str = "default",
) -> list[Prediction]:
    """Classifies picture files.

    Args:
        target: folder of an export (DIR or DIR/<version>), or HOST:PORT of a server with TF Serving's gRPC API.
        images: JPEG, PNG, GIF, BMP or still WebP files, or one of them.
        explain: also what the picture, the phrase generator and each phrase add to the top label.
        name: of the model on the server.

    Returns:
        One `Prediction` for each path, in their order.

    Raises:
        InputError: the target is neither, or a file is missing or no picture.
        ServingError: the server cannot be reached or refuses.
    """
    remote = _is_address(target)
    given = [images] if isinstance(images, str | os.PathLike) else images
    paths = [os.fspath(path) for path in given]
    for path in paths:
        if not Path(path).is_file():
            raise InputError(f"image must be a file, got {path!r}, which is not there: check the path.")
    signature = "explain" if explain else "serving_default"
    ask = _remote(str(target), signature, name) if remote else _local(target, signature)
    predictions: list[Prediction] = []
    for some_paths, contents in _requests(paths):
        answer = ask(contents)
        if "labels" not in answer:
            raise InputError(
                f"target must be a classifier, got {str(target)!r}, which tells no labels: for the phrases of a context's "
                f"tagger, run ctxvision context describe CONTEXT IMAGE."
            )
        predictions += _predictions(some_paths, answer, explain)
    return predictions


def format_prediction(prediction: Prediction, explain: bool = False) -> str:
    """A prediction as aligned lines of text for a terminal, with five of its phrases.

    The five are the nearest, with their scores, or, where the parts are explained, those that moved the top label's
    probability most, with their shares in percentage points; phrases that say nearly the same are one line. Labels that
    pass their thresholds are marked by a star.

    Args:
        prediction: what `predict` returned.
        explain: also print the shares; they must have been asked for.
    """
    told = prediction.explanation if explain else None
    if told is None:
        rows = [(phrase, f"{score:6.2f}") for phrase, score in prediction.phrases[:SHOWN_PHRASES]]
    else:
        names = [phrase for phrase, _ in prediction.phrases]
        rows = [
            (", ".join(names[place] for place in places), f"{100 * share:+6.1f} points")
            for places, share in joined_shares(names, told.phrase_shares, told.groups)[:SHOWN_PHRASES]
        ]
    width = max(len(name) for name, _ in [*prediction.top, *rows, ("phrases", "")])
    lines = [prediction.path]
    for place, (label, score) in enumerate(prediction.top):
        mark = "* " if prediction.accepted and prediction.accepted[place] else "  "
        lines.append(f"{mark}{label:<{width}}  {score:6.1%}  {'#' * round(20 * score)}".rstrip())
    if told is None:
        lines.append(f"  {'phrases':<{width}}   score")
    else:
        lines.append(f"  {prediction.label}: {told.sentence}")
    return "\n".join([*lines, *(f"  {name:<{width}}  {value}" for name, value in rows)])


def _is_address(target: str | os.PathLike[str]) -> bool:
    """Whether `target` is HOST:PORT rather than a folder; refuses what is neither."""
    if Path(target).is_dir():
        return False
    match = re.fullmatch(r"(?:[\w.-]+|\[[0-9a-fA-F:]+\]):(\d{1,5})", str(target), re.ASCII)
    if match and 0 < int(match[1]) <= 65535:
        return True
    raise InputError(
        f"target must be the folder of an export or HOST:PORT of a server, got {str(target)!r}: check it."
    )


def _requests(paths: list[str]) -> Iterator[tuple[list[str], list[bytes]]]:
    """Files in their order, as many together as a request takes."""
    some_paths: list[str] = []
    images: list[bytes] = []
    for path in paths:
        image = Path(path).read_bytes()
        if images and (
            len(images) == _PICTURES_PER_REQUEST or sum(map(len, images)) + len(image) > _BYTES_PER_REQUEST
        ):
            yield some_paths, images
            some_paths, images = [], []
        some_paths.append(path)
        images.append(image)
    if images:
        yield some_paths, images


def _local(directory: str | os.PathLike[str], signature: str) -> Callable[[list[bytes]], Answer]:
    export = load_export(directory)
    function = export.signatures.get(signature)
    if function is None or list(function.structured_input_signature[1]) != ["image_bytes"]:
        raise InputError(
            f"target must be an export of ctxvision with the signature {signature!r} of image_bytes, got "
            f"{str(directory)!r}, which has {sorted(export.signatures)}: export again."
        )
    # The closure keeps `export`, and so its variables, alive.
    return lambda images: {
        key: value.numpy()
        for key, value in export.signatures[signature](image_bytes=tf.constant(images)).items()
    }


def _remote(address: str, signature: str, name: str) -> Callable[[list[bytes]], Answer]:
    options = [
        ("grpc.max_receive_message_length", MESSAGE_BYTES),
        ("grpc.max_send_message_length", MESSAGE_BYTES),
    ]
    stub = prediction_service_pb2_grpc.PredictionServiceStub(grpc.insecure_channel(address, options))

    def ask(images: list[bytes]) -> Answer:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = name
        request.model_spec.signature_name = signature
        request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(images, tf.string))
        try:
            response = stub.Predict(request, timeout=_TIMEOUT_SECONDS)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAVAILABLE:
                raise ServingError(
                    f"no server answers at {address}: start one with 'ctxvision serve DIR', or check the address."
                ) from error
            raise ServingError(
                f"the server at {address} refused ({error.code().name}): {error.details()}"
            ) from error
        return {key: tf.make_ndarray(value) for key, value in response.outputs.items()}

    return ask


def _predictions(paths: list[str], answer: Answer, explain: bool) -> Iterator[Prediction]:
    for row, path in enumerate(paths):
        if not answer["valid"][row]:
            raise InputError(
                f"image must be a {READABLE} picture, got {path!r}, {reason_of(Path(path).read_bytes())}."
            )
        top = _pairs(answer["labels"][row], answer["scores"][row])
        phrases = _pairs(answer["phrases"][row], answer["phrase_scores"][row])
        accepted = answer["accepted"][row].tolist() if "accepted" in answer else None
        explanation = _explanation(answer, row) if explain else None
        yield Prediction(path, *top[0], top, phrases, explanation, accepted)


def _explanation(answer: Answer, row: int) -> Explanation:
    """Of the first label of a picture."""
    there = [place for place, phrase in enumerate(answer["phrases"][row]) if phrase]
    return Explanation(
        visual_share=float(answer["visual_shares"][row, 0]),
        query_share=float(answer["query_shares"][row, 0]),
        phrase_shares=[float(answer["phrase_shares"][row, 0, place]) for place in there],
        groups=[int(answer["phrase_groups"][row, place]) for place in there],
        prior_score=float(answer["prior_scores"][row, 0]),
    )


def _pairs(names: np.ndarray, scores: np.ndarray) -> list[tuple[str, float]]:
    """Names with scores, without places that hold nothing."""
    return [(name.decode(), float(score)) for name, score in zip(names, scores, strict=True) if name]
