"""A tiny classifier, its pictures and its export, made once for the tests of serving."""

import io

import numpy as np
import pytest
from PIL import Image

import ctxvision as cv
from ctxvision.serving.devserver.replay import WARMUP_FILE
from tests.tiny_model import tiny_classifier

LABELS = ["cat", "dog", "bird", "fish", "horse", "größe"]  # more labels than `serving_default` returns


def encode(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


@pytest.fixture(scope="package")
def model():
    return tiny_classifier(labels=LABELS)


@pytest.fixture(scope="package")
def images():
    """Six encoded pictures of different sizes and formats."""
    rng = np.random.default_rng(1)
    kinds = ["PNG", "JPEG", "GIF", "BMP", "PNG", "JPEG"]
    return [encode(rng.integers(0, 256, (16 + i, 24 - i, 3), np.uint8), kind) for i, kind in enumerate(kinds)]


@pytest.fixture(scope="package")
def image_files(images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for i, image in enumerate(images):
        (folder / f"{i}.img").write_bytes(image)
    return [str(folder / f"{i}.img") for i in range(len(images))]


@pytest.fixture(scope="package")
def export_directory(model, tmp_path_factory):
    """The folder with the export as version 2, without warm-up requests, which would slow the start of each server."""
    directory = tmp_path_factory.mktemp("serving")
    (cv.export_saved_model(model, directory / "2") / WARMUP_FILE).unlink()
    return directory
