"""The page of the REST port: its files, its access rules, and its use by a person."""

import http.client
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf

from ctxvision.serving import Server
from tests.serving.conftest import LABELS, encode
from tests.serving.devserver.browser import CHROMIUM, Browser

FILES = {
    "/": "text/html",
    "/page.css": "text/css",
    "/page.js": "text/javascript",
    "/icon.svg": "image/svg+xml",
}


@pytest.fixture(scope="module")
def server(export_directory):
    with Server(export_directory, port=0, rest_port=0, name='a "<b>&') as running:
        yield running


def ask(server, path, method="GET", host=None, headers=()):
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=60)
    try:
        connection.putrequest(method, path, skip_host=host is not None)
        if host:
            connection.putheader("Host", host)
        for name, value in headers:
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        return response.status, response.headers, response.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize("path", FILES)
def test_files_are_served_with_their_type_and_nothing_may_be_loaded_from_elsewhere(server, path):
    status, headers, text = ask(server, path)
    assert (status, headers["Content-Type"]) == (200, f"{FILES[path]}; charset=utf-8")
    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Access-Control-Allow-Origin"] is None
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text)
    assert ask(server, path, "HEAD")[::2] == (200, "")
    assert ask(server, path, "DELETE")[0] == 405


def test_the_page_has_no_inline_script_or_style_and_never_inserts_html(server):
    page, script = ask(server, "/")[2], ask(server, "/page.js")[2]
    assert re.findall(r"<script[^>]*>", page) == ['<script src="page.js" defer>']
    assert "<style" not in page and not re.findall(r"\s(?:on\w+|style)=", page)
    assert not re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b", script)


def test_the_models_name_is_escaped(server):
    page = ask(server, "/")[2]
    assert '<meta name="model" content="a &quot;&lt;b&gt;&amp;">' in page
    assert "<h1>a &quot;&lt;b&gt;&amp;</h1>" in page


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8501", "127.0.0.1:1", "127.0.0.1", "[::1]:8501", "[::1]"]
)
def test_the_names_of_this_machine_are_answered(server, host):
    assert ask(server, "/", host=host)[0] == 200


@pytest.mark.parametrize(
    "host", ["example.org", "localhost.example.org", "127.0.0.1.example.org:8501", "[::2]", "[", " ", ""]
)
def test_another_host_name_is_refused_on_a_loopback_address(server, host, export_directory):
    for path in ("/", "/page.js", "/v1/models/default"):
        status, _, text = ask(server, path, host=host)
        assert status in (400, 403) and "<html" not in text
    if host == "example.org":
        assert "Host must be one of 127.0.0.1, ::1, localhost, got 'example.org'" in text
        with Server(export_directory, port=0, rest_port=0, host="0.0.0.0") as public:
            assert ask(public, "/", host=host)[0] == 200


@pytest.fixture(scope="module")
def context_directory(export_directory, tmp_path_factory):
    """An export with a signature `with_context`, in which the label that the text names becomes certain."""
    directory = tmp_path_factory.mktemp("context")
    loaded = tf.saved_model.load(str(export_directory / "2"))
    spec = [
        tf.TensorSpec([None], tf.string, name="image_bytes"),
        tf.TensorSpec([None], tf.string, name="texts"),
    ]
    names = tf.constant(LABELS)

    @tf.function(input_signature=spec)
    def with_context(image_bytes, texts):
        answer = loaded.signatures["serving_default"](image_bytes=image_bytes)
        named = tf.cast(texts[:, tf.newaxis] == names, tf.float32)
        told = tf.reduce_sum(named, 1, keepdims=True)
        probabilities = told * named + (1 - told) * answer["probabilities"]
        scores, ids = tf.math.top_k(probabilities, 5)
        return {**answer, "probabilities": probabilities, "scores": scores, "labels": tf.gather(names, ids)}

    module = tf.Module()
    module.loaded = loaded
    signatures = {
        **{key: loaded.signatures[key] for key in ("serving_default", "explain")},
        "with_context": with_context,
    }
    tf.saved_model.save(module, str(directory / "1"), signatures=signatures)
    return directory


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(3)
    names = ["first.png", "<img src=x onerror=alert(1)>.png"]
    for name in names:
        (tmp_path / name).write_bytes(encode(rng.integers(0, 256, (40, 60, 3), np.uint8)))
    (tmp_path / "notes.png").write_bytes(b"no picture")
    return [str(tmp_path / name) for name in (*names, "notes.png")]


def url(server):
    return f"http://localhost:{server.rest_port}/"


ANSWERED = "document.querySelectorAll('.found:not([hidden]), .problem:not([hidden])').length"


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_pictures_are_dropped_and_answered(browser, server, files, width):
    browser.complaints.clear()
    browser.requested.clear()
    browser.open(url(server), width)
    browser.drop(files, 150, 150)
    browser.wait(f"{ANSWERED} === 3")
    cards = browser.run(
        "[...document.querySelectorAll('article')].map(a => ({name: a.querySelector('h2').textContent,"
        " labels: [...a.querySelectorAll('.labels .name')].map(e => e.textContent),"
        " phrases: [...a.querySelectorAll('tbody th')].map(e => e.textContent),"
        " decided: a.querySelector('.reasons strong')?.textContent,"
        " adds: [...a.querySelectorAll('tbody td.adds')].map(e => e.textContent),"
        " problem: a.querySelector('.problem').textContent}))"
    )
    nothing, *answers = cards
    assert (
        nothing["name"] == "notes.png"
        and "no JPEG, PNG, GIF, BMP or still WebP picture" in nothing["problem"]
    )
    assert [answer["name"] for answer in answers] == ["<img src=x onerror=alert(1)>.png", "first.png"]
    for answer in answers:
        assert re.fullmatch(r"(picture|phrase generator|phrases) [+−]\d+\.\d", answer["decided"])
        assert len(answer["labels"]) == 5 and set(answer["labels"]) < set(LABELS)
        reasons = answer["phrases"]
        assert {"the picture itself", "what the phrase generator sees"} < set(reasons) and len(reasons) == 5
        assert all(re.fullmatch(r"[+−]\d+\.\d", added) for added in answer["adds"])
    assert "notes.png: This file is no" in browser.run("document.getElementById('status').textContent")
    assert "ctxvision export --with-text" in browser.run("document.getElementById('note').textContent")
    assert browser.run("document.querySelector('form').hidden")
    assert browser.run("document.documentElement.scrollWidth") <= width, "the page is wider than the screen"
    assert browser.run("document.images.length") == 3, "a file name became HTML"
    browser.call("Emulation.setEmulatedMedia", media="print", features=[])
    shown = "[...document.querySelectorAll('input, button')].filter(one => one.offsetParent).length"
    assert browser.run(shown) == 0, "controls are printed"
    browser.call("Emulation.setEmulatedMedia", media="", features=[])
    assert browser.complaints == []
    assert all(asked.startswith((url(server), "blob:" + url(server))) for asked in browser.requested)


@pytest.mark.slow
def test_a_phrase_changes_the_answer_by_keyboard_alone(browser, context_directory, files):
    with Server(context_directory, port=0, rest_port=0) as server:
        browser.open(url(server), 1280)
        browser.choose("#pictures", files[:1])
        browser.wait(f"{ANSWERED} === 1")
        assert browser.run("document.getElementById('note').hidden")
        before = browser.run("document.querySelector('.labels .name').textContent")
        other = next(label for label in LABELS if label != before)
        browser.run("document.getElementById('pictures').focus()")
        browser.press("Tab")
        assert browser.run("document.activeElement.name") == "phrase"
        assert browser.run("document.activeElement.labels[0].textContent.trim()") == "A phrase of your own"
        assert browser.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        browser.type(other)
        browser.press("Enter", "\r")
        browser.wait("!document.querySelector('.change').hidden")
        assert browser.run("document.querySelector('.labels .name').textContent") == other
        told = browser.run("document.getElementById('status').textContent")
        assert re.fullmatch(rf"first.png: With “{other}”: {other} 100.0%(, \+\d+\.\d points)?\.", told)
        assert browser.run("document.getElementById('status').getAttribute('aria-live')") == "polite"
        browser.run("document.querySelector('.without').click()")
        assert browser.run("document.querySelector('.labels .name').textContent") == before
        browser.run("document.getElementById('clear').click()")
        assert browser.run("document.querySelectorAll('article').length") == 0


@pytest.mark.slow
def test_every_control_has_a_name(browser, context_directory, files):
    with Server(context_directory, port=0, rest_port=0) as server:
        browser.open(url(server), 390)
        browser.choose("#pictures", files[:1])
        browser.wait(f"{ANSWERED} === 1")
        nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
        named = {
            (node["role"]["value"], node.get("name", {}).get("value", ""))
            for node in nodes
            if not node["ignored"]
            and node.get("role", {}).get("value") in ("button", "textbox", "image", "article", "table")
        }
        assert ("textbox", "A phrase of your own") in named and ("article", "first.png") in named
        assert all(name for role, name in named if role in ("button", "textbox", "image", "article"))


@pytest.mark.slow
def test_the_page_says_when_the_server_is_gone(browser, export_directory, files, tmp_path):
    shutil.copytree(export_directory, tmp_path / "model")
    with Server(tmp_path / "model", port=0, rest_port=0) as server:
        browser.open(url(server), 390)
        browser.wait("document.getElementById('version').textContent === 'version 2'")
    browser.choose("#pictures", files[:1])
    browser.wait(f"{ANSWERED} === 1")
    assert "The server did not answer" in browser.run("document.querySelector('.problem').textContent")
