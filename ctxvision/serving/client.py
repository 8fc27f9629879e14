"""Predictions for picture files, by an export on disk or by a server."""

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

from ctxvision.errors import InputError
from ctxvision.serving.asking import MOST_BYTES, MOST_PICTURES, asker
from ctxvision.serving.predictions import Prediction, Refused, predictions_of

_Item = TypeVar("_Item")


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
    given = [images] if isinstance(images, str | os.PathLike) else images
    paths = [os.fspath(path) for path in given]
    for path in paths:
        if not Path(path).is_file():
            raise InputError(f"image must be a file, got {path!r}, which is not there: check the path.")
    found = []
    for one in answers(target, paths, explain, name):
        if isinstance(one, Refused):
            raise InputError(one.reason)
        found.append(one)
    return found


def answers(
    target: str | os.PathLike[str], paths: Iterable[str], explain: bool = False, name: str = "default"
) -> Iterator[Prediction | Refused]:
    """What `predict` returns, one after another; a picture that cannot be read costs no other its answer.

    Files are read, and answers are unpacked, while the model computes. Arguments and errors are those of `predict`, but for
    the pictures.
    """
    ask = asker(target, "explain" if explain else "serving_default", name)
    asked = ((one, ask(one.contents) if one.contents else {}) for one in _ahead(_requests(paths)))
    for request, answer in _ahead(asked):
        found = predictions_of(request.paths, request.contents, answer, explain)
        for refused in request.between:
            yield next(found) if refused is None else refused


def _ahead(items: Iterator[_Item]) -> Iterator[_Item]:
    """The same items; each one is made while the one before is used."""
    with ThreadPoolExecutor(1) as maker:
        coming = maker.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = maker.submit(next, items, None)
            yield item


class _Request(NamedTuple):
    """Pictures that are asked about together.

    `between` has None for each of them, and in its place what could not be read.
    """

    paths: list[str]
    contents: list[bytes]
    between: list[Refused | None]


def _requests(paths: Iterable[str]) -> Iterator[_Request]:
    """Files in their order, as many together as a request takes."""
    request, size = _Request([], [], []), 0
    for path in paths:
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            request.between.append(
                Refused(path, f"image must be a file that can be read, got {path!r} ({error.strerror}).")
            )
            continue
        if len(request.paths) == MOST_PICTURES or (request.paths and size + len(content) > MOST_BYTES):
            yield request
            request, size = _Request([], [], []), 0
        request.paths.append(path)
        request.contents.append(content)
        request.between.append(None)
        size += len(content)
    if request.between:
        yield request
