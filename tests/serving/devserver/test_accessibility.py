"""The page of the REST port breaks no rule of axe-core, in light and in dark."""

import numpy as np
import pytest

from ctxvision.serving import Server
from tests.axe import axe_core, violations
from tests.serving.conftest import encode
from tests.serving.devserver.browser import Browser


@pytest.mark.slow
def test_the_page_breaks_no_rule(export_directory, tmp_path):
    axe_core()
    picture = tmp_path / "picture.png"
    picture.write_bytes(encode(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)))
    browser = Browser(tmp_path / "profile")
    try:
        with Server(export_directory, port=0, rest_port=0) as server:
            for width in (1280, 390):
                for dark in (False, True):
                    browser.open(f"http://localhost:{server.rest_port}/", width, dark=dark)
                    assert violations(browser) == []
                    browser.choose("#pictures", [str(picture)])
                    browser.wait("document.querySelectorAll('.found:not([hidden])').length === 1")
                    assert violations(browser) == []
    finally:
        browser.close()
