"""Predicts picture files with an export on disk or a server."""

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
    """Classifies picture files with an export or a server.

    Args:
        target: folder of an export (`DIR` or `DIR/<version>`), or HOST:PORT of a server with TF Serving's gRPC API. The
            last export stays in memory, so that another call with it does not load it again.
        images: one or several JPEG, PNG, GIF, BMP or still WebP files.
        explain: whether to add the shares of the picture, the phrase generator and each phrase in the top label.
        name: name of the model on the server.

    Returns:
        One `Prediction` per path, in the order of the paths.

    Raises:
        InputError: the target is neither a folder nor an address, or no classifier; or a file is missing or is not a
            picture.
        ServingError: the server cannot be reached or refuses.

    Example:
        >>> prediction = cv.predict("serving/photos", "picture.jpg")[0]
        >>> prediction.label
        'red label'
    """
    given = [images] if isinstance(images, str | os.PathLike) else images
    paths = [os.fspath(path) for path in given]
    for path in paths:
        if not Path(path).is_file():
            raise InputError(f"image must be a file, got {path!r}, which does not exist: check the path.")
    found = []
    for one in answers(target, paths, explain, name):
        if isinstance(one, Refused):
            raise InputError(one.reason)
        found.append(one)
    return found


def answers(
    target: str | os.PathLike[str], paths: Iterable[str], explain: bool = False, name: str = "default"
) -> Iterator[Prediction | Refused]:
    """Yields the predictions of files one after another; a picture that cannot be read yields a `Refused`.

    Reads files and unpacks answers while the model computes. Arguments and other errors are those of `predict`.
    """
    ask = asker(target, "explain" if explain else "serving_default", name)
    asked = ((one, ask(one.contents) if one.contents else {}) for one in _prefetched(_requests(paths)))
    for request, answer in _prefetched(asked):
        found = predictions_of(request.paths, request.contents, answer, explain)
        for refused in request.between:
            yield next(found) if refused is None else refused


def _prefetched(items: Iterator[_Item]) -> Iterator[_Item]:
    """Yields the same items; makes each item while the caller uses the item before."""
    with ThreadPoolExecutor(1) as maker:
        coming = maker.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = maker.submit(next, items, None)
            yield item


class _Request(NamedTuple):
    """Pictures of one request.

    Attributes:
        paths, contents: the pictures.
        between: None for each picture, with the unreadable files in between, in the order of the files.
    """

    paths: list[str]
    contents: list[bytes]
    between: list[Refused | None]


def _requests(paths: Iterable[str]) -> Iterator[_Request]:
    """Yields requests with the files in their order and with as many files as a request takes."""
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
