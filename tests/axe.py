"""Accessibility checks of pages by axe-core in a headless Chromium."""

import functools
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.serving.devserver.browser import CHROMIUM, Browser


@functools.cache
def axe_core() -> str:
    """The source of a globally installed axe-core; skips the test if axe-core or Chromium is missing."""
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    npm = shutil.which("npm")
    root = subprocess.run([npm, "root", "--global"], capture_output=True, text=True).stdout if npm else ""
    source = Path(root.strip()) / "axe-core" / "axe.min.js"
    if not npm or not source.is_file():
        pytest.skip("no axe-core is installed: npm install --global axe-core")
    return source.read_text(encoding="utf-8")


def violations(browser: Browser) -> list[str]:
    """The rules that the open page breaks, each with the elements that break it; folded parts are opened."""
    browser.run("document.querySelectorAll('details').forEach(details => { details.open = true; })")
    browser.run(f"{axe_core()};0")
    found = browser.run(
        "axe.run(document, {resultTypes: ['violations']}).then(result => JSON.stringify(result.violations))"
    )
    return [f"{one['id']}: {[node['html'] for node in one['nodes']]}" for one in json.loads(found)]
