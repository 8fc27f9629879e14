"""A picture with an EXIF orientation gets the answer of the upright picture in every interface."""

import base64
import http.client
import json
import re

import numpy as np
import pytest
from PIL import Image

from ctxvision.data import load_pictures
from ctxvision.serving import Server, predict
from tests.data.test_orientation import FORMATS, as_pillow_writes, encoded, exif
from tests.serving.devserver.browser import CHROMIUM, Browser
from tests.tiny_model import IMAGE_SIZE

# Maps an orientation to the operation (Image.Transpose) that stores a picture so that it is shown upright.
STORED_BY = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}


@pytest.fixture(scope="module")
def turned(tmp_path_factory):
    """Files of one picture: upright first, then every orientation in every format. JPEG keeps its flat blocks."""
    folder = tmp_path_factory.mktemp("turned")
    colours = np.random.default_rng(2).integers(40, 216, (2, 4, 3), np.uint8)
    meant = Image.fromarray(colours.repeat(16, 0).repeat(16, 1))
    files = [folder / "upright.png"]
    meant.save(files[0])
    for kind in FORMATS:
        for number in range(1, 9):
            stored = meant.transpose(Image.Transpose(STORED_BY[number])) if number > 1 else meant
            files.append(folder / f"{kind}-{number}")
            files[-1].write_bytes(encoded(stored, kind, as_pillow_writes(exif(number))))
    return [str(file) for file in files]


def scores(predictions):
    """Sorts by label, so that tied labels may change places."""
    return [dict(one.top) for one in predictions]


def test_training_export_and_grpc(model, export_directory, turned):
    pixels = load_pictures(turned, IMAGE_SIZE)
    probabilities = model(pixels)["probabilities"].numpy()
    np.testing.assert_allclose(probabilities, probabilities[:1].repeat(len(turned), 0), atol=1e-3)
    as_stored = np.asarray(Image.open(turned[6]).resize((IMAGE_SIZE, IMAGE_SIZE)).convert("RGB"))
    assert np.abs(as_stored.astype(int) - pixels[0]).max() > 50, "a turn that changes nothing shows nothing"
    with Server(export_directory, port=0) as server:
        for target in (export_directory, f"localhost:{server.port}"):
            upright, *others = scores(predict(target, turned))
            assert upright[max(upright, key=upright.get)] == pytest.approx(probabilities[0].max(), abs=1e-3)
            for found in others:
                assert found == pytest.approx(upright, abs=1e-3)


def test_rest(model, export_directory, turned):
    expected = model(load_pictures(turned[:1], IMAGE_SIZE))["probabilities"].numpy()
    rows = []
    for file in turned:
        with open(file, "rb") as content:
            rows.append({"b64": base64.b64encode(content.read()).decode()})
    with Server(export_directory, port=0, rest_port=0) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=60)
        connection.request("POST", "/v1/models/default:predict", json.dumps({"instances": rows}))
        answers = json.loads(connection.getresponse().read())["predictions"]
        connection.close()
    found = np.array([answer["probabilities"] for answer in answers])
    np.testing.assert_allclose(found, expected.repeat(len(turned), 0), atol=1e-3)


@pytest.mark.slow
def test_page(export_directory, turned, tmp_path):
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    browser = Browser(tmp_path / "profile")
    try:
        with Server(export_directory, port=0, rest_port=0) as server:
            browser.open(f"http://localhost:{server.rest_port}/", 1280)
            browser.choose("#pictures", turned)
            browser.wait(f"document.querySelectorAll('.found:not([hidden])').length === {len(turned)}")
            texts = browser.run(
                "[...document.querySelectorAll('article')].map(a => a.querySelector('.labels').textContent)"
            )
            points = [dict(re.findall(r"(\D+?)(\d+\.\d)%", text)) for text in texts]
            assert len(points[0]) == 5
            for found in points:  # the page shows one decimal
                assert {name: float(shown) for name, shown in found.items()} == pytest.approx(
                    {name: float(shown) for name, shown in points[0].items()}, abs=0.11
                )
            sides = browser.run(
                "[...document.querySelectorAll('article')].map(a => [a.querySelector('h2').textContent, "
                "a.querySelector('img').naturalWidth > a.querySelector('img').naturalHeight])"
            )
            # Chromium itself ignores the orientation of WebP.
            assert all(wide for name, wide in sides if not name.startswith("WEBP")), sides
    finally:
        browser.close()
