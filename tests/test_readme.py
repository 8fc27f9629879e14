"""README's code and commands run, its links lead somewhere, its figures are measured, and it stays short."""

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from PIL import Image

from tests.tiny_data import tiny_settings, write_tiny_data

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
WITH_CODE = ("README.md", "ctxvision/layers/README.md", "ctxvision/vocabulary/README.md")
PLACES = ("README.md", "colab/README.md", "export/README.md", "ctxvision/*/README.md", "tools/*/README.md")
PAGES = sorted(str(path.relative_to(ROOT)) for place in PLACES for path in ROOT.glob(place))
CONTEXT_SETTINGS = ("phrase_steps", "text_steps", "text_batch_size", "min_class_count", "min_phrase_count")


def page(name):
    return (ROOT / name).read_text(encoding="utf-8")


def commands(text):
    """The commands of a page's console blocks, without their comments."""
    blocks = re.findall(r"```console\n(.*?)```", text, flags=re.DOTALL)
    return [
        re.sub(r"  +# .*", "", line)
        for block in blocks
        for line in re.findall(r"^\$ (.*)$", block, re.MULTILINE)
    ]


@pytest.mark.slow
def test_python_blocks_run(tiny_run, tiny_data, tmp_path):
    """In a process of their own, as a reader's: memory that is asked for counts what the process holds already."""
    shutil.copytree(tiny_data, tmp_path / "photos")
    shutil.copytree(tiny_run.directory, tmp_path / "runs" / "photos")
    (tmp_path / "settings.json").write_text(json.dumps(tiny_settings(tiny_data)))
    blocks = [
        block for name in WITH_CODE for block in re.findall(r"```python\n(.*?)```", page(name), re.DOTALL)
    ]
    assert len(blocks) == 4
    blocks[2] += "print(probabilities.shape, found.ids.shape)\n"
    blocks[3] += "print(found.ids.shape, table.ids(['blue boat']), len(table))\n"
    (tmp_path / "readme.py").write_text("".join(blocks), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "readme.py"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "label" in done.stdout and re.search(r"[+-]0\.\d{3}  \w+", done.stdout)
    assert done.stdout.splitlines()[-2:] == ["(5, 10) (5, 2)", "(5, 1) [2] 3"]
    assert (tmp_path / "serving" / "finetuned" / "1" / "saved_model.pb").is_file()


@pytest.mark.parametrize("name", PAGES)
def test_commands_exist(name):
    from ctxvision.cli.main import _parser

    for line in commands(page(name)):
        program, *arguments = shlex.split(line.removesuffix("&"))
        if program == "ctxvision":
            _parser().parse_args(arguments)
        elif program == "python":
            assert (ROOT / arguments[0]).is_file()
        elif program == "make":
            assert re.search(rf"^{arguments[0]}:", page("Makefile"), re.MULTILINE)


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name):
    for link in re.findall(r"\]\((?!https?:)(.*?)\)", page(name)):
        place, _, anchor = link.partition("#")
        target = (ROOT / name).parent / place if place else ROOT / name
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings], (
                link
            )


def test_it_is_short():
    before, *_ = README.partition("```console")
    assert number_of_words(before) <= 120
    for table in re.findall(r"(?:^\|.*\n)+", README, flags=re.MULTILINE):
        assert len(table.splitlines()) <= 2 + 5, table
    for paragraph in paragraphs(README):
        assert number_of_words(paragraph) <= 60, paragraph
        assert len(re.findall(r"[.!?](?=\s|$)", paragraph)) <= 3, paragraph


def paragraphs(text):
    """Paragraphs and list items, without headings, tables, code and figures."""
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    text = re.sub(r"^(\||#|!\[).*$", "", text, flags=re.MULTILINE)
    text = text.replace("Eq. ", "Eq ")
    return [one for one in re.split(r"\n\s*\n|^- ", text, flags=re.MULTILINE) if one.strip()]


def number_of_words(text):
    """Words that a reader sees, with those that stand in for figures; addresses of links are none."""
    return len(re.findall(r"\S*\w\S*", re.sub(r"\]\(.*?\)", "]", text)))


def test_the_answer_that_is_shown_is_the_demos():
    answers = json.loads(page("tools/figures/answers.json"))
    (guitar,) = [one for one in answers["drawings"] if one["name"] == "guitar"]
    printed = "\n".join(guitar["printed"])
    assert f"```\n{printed}\n```" in README


def test_the_minutes_are_those_measured():
    times = json.loads(page("tools/benchmarks/results/taxonomies-emoji.json"))["times"]
    assert f"trains in {sum(one['seconds'] for one in times) / 60:.0f} minutes on two cores" in README


@pytest.mark.slow
def test_all_commands_run_in_a_fresh_clone(tmp_path):
    """From `pip install` to the server's answer. Pictures and towers are tiny, and `make` only says what it would do."""
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    picture = write_tiny_data(clone / "photos") / "images" / "test-easy-0.png"
    Image.open(picture).resize((64, 64)).save(clone / "picture.jpg")
    settings = tiny_settings(clone / "photos")
    of_context = {key: settings[key] for key in (*CONTEXT_SETTINGS, "phrase_backbone", "batch_size")}
    (clone / "context.json").write_text(json.dumps({**of_context, "image_size": 16}))
    (clone / "run.json").write_text(
        json.dumps(
            {
                key: value
                for key, value in settings.items()
                if key not in (*CONTEXT_SETTINGS, "phrase_backbone")
            }
        )
    )
    grpc, rest = free_port(), free_port()
    instead = {
        "make ": "make -n ",
        "--preset transfer --out": "--config context.json --out",
        "--preset transfer --context": "--config run.json --context",
        "--label-column coarse_label": "--label-column coarse_label --config run.json",
        "serve serving/photos": f"serve serving/photos --port {grpc} --rest-port {rest}",
        "localhost:8500": f"localhost:{grpc}",
        "localhost:8501": f"localhost:{rest}",
    }
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "MAKEFLAGS")}
    environment |= {
        "PATH": f"{tmp_path / 'venv' / 'bin'}{os.pathsep}{environment['PATH']}",
        "CTXVISION_CACHE": str(tmp_path / "cache"),
    }
    told, used, server = {}, set(), None
    try:
        for line in commands((clone / "README.md").read_text(encoding="utf-8")):
            command = line
            for old, new in instead.items():
                used |= {old} if old in command else set()
                command = command.replace(old, new)
            if command.endswith("&"):
                arguments = shlex.split(command.removesuffix("&"))
                server = subprocess.Popen(
                    arguments,
                    cwd=clone,
                    env=environment,
                    executable=shutil.which(arguments[0], path=environment["PATH"]),
                )
                wait_for(f"http://localhost:{rest}/v1/models/default")
                continue
            done = subprocess.run(
                ["bash", "-c", command], cwd=clone, env=environment, capture_output=True, text=True
            )
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
            told[line] = done.stdout
    finally:
        if server:
            server.terminate()  # a background job may have inherited that SIGINT is ignored
            server.wait(60)
    assert used == set(instead)
    said = {line.split(" picture.jpg")[0].split(" http")[0]: out for line, out in told.items()}
    assert "ctxvision demo --out runs/demo" in said["make demo"] and "-m pytest" in said["make test"]
    assert "red label" in said["ctxvision predict runs/photos/export"]
    assert said["python export/clients/python_client.py localhost:8500"].startswith(
        "picture.jpg\tred label\t"
    )
    assert json.loads(said["curl -d @request.json"])["predictions"][0]["labels"][0] == "red label"
    labels = (clone / "runs/coarse/export/1/assets/labels.txt").read_text().splitlines()
    assert labels == ["cold", "warm"]


def free_port():
    with socket.socket() as one:
        one.bind(("localhost", 0))
        return one.getsockname()[1]


def wait_for(address):
    for _ in range(120):
        try:
            urllib.request.urlopen(address, timeout=5)
            return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(f"{address} does not answer")
