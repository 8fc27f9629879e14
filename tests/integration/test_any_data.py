"""For any data, training does what `data check` says."""

import csv
import random
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import ctxvision as cv
from ctxvision.classifier.calibration import prior_calibration
from ctxvision.data import check_data, load_data
from ctxvision.errors import InputError
from tests.tiny_data import COLOURS, tiny_settings

STEPS = {"phrase_steps": 1, "visual_steps": 1, "text_steps": 1, "head_steps": 1}
LABELS = ("cat", "dog", "Dog", "café", "0", "0.0", "two\nlines", "a|b", "", "  ")
QUERIES = ("cat photo", "my dog", "dog", "x" * 1001, "gato", "", "photo")
NAMES = (
    "a b.png",
    "ü.png",
    'quo"te.png',
    "com,ma.png",
    "#1.png",
    ".hidden.png",
    "no suffix",
    "broken.png",
    "gone.png",
)


@st.composite
def tables(draw):
    """Draws rows of an `images.csv`: usual rows, and some of the faults of real tables."""
    usual = draw(st.sampled_from([("web", "train")] * 5 + [("train",), ("web",)]))
    more = draw(
        st.lists(st.sampled_from(["test", "val", "test:a", "test:a-b", "pretrain"]), max_size=2, unique=True)
    )
    labels = ["cat", "dog", *draw(st.lists(st.sampled_from(LABELS), max_size=1))]
    queries = ["cat photo", "my dog", *draw(st.lists(st.sampled_from(QUERIES), max_size=2))]
    rows = []
    for split in (*usual, *more):
        strange = draw(st.dictionaries(st.integers(0, 12), st.sampled_from(NAMES), max_size=1))
        for number in range(draw(st.sampled_from([12, 12, 12, 2, 1]))):
            label = "" if split == "web" else labels[number % len(labels)]
            told = queries[number % len(queries)] + "|" + queries[(number + 1) % len(queries)]
            name = f"{split.replace(':', '-')}/{strange.get(number, f'{number}.png')}"
            rows.append((name, split, label, told if split == "web" else ""))
    return rows


@st.composite
def folders(draw):
    """Draws paths in a folder of pictures, among other files of such folders."""
    labels = [
        "cat",
        "dog",
        *draw(st.lists(st.sampled_from(["red car", "café", ".git", "__MACOSX"]), max_size=2)),
    ]
    splits = draw(
        st.sampled_from(
            [("train", "test"), ("train",), ("",), ("Train", "Valid"), ("train", "old"), ("old",)]
        )
    )
    paths = [
        f"{split}/{label}/{i}.png"
        for split in splits
        for label in labels
        for i in range(draw(st.sampled_from([7, 7, 3, 1])))
    ]
    return paths + draw(
        st.lists(st.sampled_from(["notes.txt", "train/Thumbs.db", "train/cat/._1.png"]), max_size=2)
    )


def write(path, colour):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png" and not path.name.startswith("."):
        pixels = np.random.default_rng(0).normal(colour, 25, (20, 20, 3))
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)
    else:
        path.write_bytes(b"nothing that is a picture")


def settings_of(tiny_data):
    few = {**STEPS, "context_phrases": 0, "fractions": [1.0], "seeds": 1}
    return cv.Config.from_dict({**tiny_settings(tiny_data), **few})


def agrees(source, out, tiny_data):
    """Trains if the check allows it, and fails if check and training disagree."""
    config = settings_of(tiny_data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            refused = check_data(load_data(source), queries=config.query_needs).refused
        except InputError as error:
            refused = [str(error)]
        try:
            cv.train(source, out, config)
        except InputError as error:
            assert refused, f"data check said fit, training says {error}"
        else:
            assert not refused, f"trained, though data check said {refused}"
            assert (out / "export" / "1" / "saved_model.pb").is_file()


def every(number):
    return settings(
        max_examples=number,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


def of_table(rows, folder, tiny_data):
    for number, (name, *_) in enumerate(rows):
        if not name.endswith("gone.png"):
            write(folder / name, list(COLOURS.values())[number % 4])
        if name.endswith("broken.png"):
            (folder / name).write_bytes(b"broken")
    with open(folder / "images.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("image", "split", "label", "queries"), *rows])
    agrees(str(folder), folder / "run", tiny_data)


def of_folder(paths, folder, tiny_data):
    for number, path in enumerate(paths):
        write(folder / "data" / path.lstrip("/"), list(COLOURS.values())[number % 4])
    agrees(f"folder:{folder / 'data'}", folder / "run", tiny_data)


@pytest.mark.filterwarnings("ignore:.*has no queries")
def test_folders_of_pictures_without_queries_or_test(tmp_path, tiny_data):
    for label, number in (("cat", 6), ("dog", 6), ("fox", 1)):
        for picture in range(number):
            write(tmp_path / "data" / label / f"{picture}.png", COLOURS["red" if label == "cat" else "blue"])
    random.seed(4)
    expected = random.random()
    random.seed(4)
    run = cv.train(f"folder:{tmp_path / 'data'}", tmp_path / "run", settings_of(tiny_data))
    assert random.random() == expected, "training has seeded the caller's random numbers"
    assert run.choice.k == 2  # all phrases of the vocabulary
    report = (run.directory / "report.html").read_text(encoding="utf-8")
    assert "The data has no test pictures, so nothing was measured." in report
    with pytest.raises(InputError, match="data must have a split test to measure on, got web, train"):
        cv.evaluate(run, "table2")
    (answer,) = cv.predict(run.directory / "export", [tmp_path / "data" / "cat" / "0.png"])
    assert answer.top[0][0] in ("cat", "dog", "fox")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*has no queries")
def test_one_picture_per_label_leaves_none_for_val(tmp_path, tiny_data, tiny_run):
    for label in COLOURS:
        write(tmp_path / "data" / "train" / label / "0.png", COLOURS[label])
        write(tmp_path / "data" / "test" / label / "0.png", COLOURS[label])
    settings = settings_of(tiny_data)
    run = cv.train(f"folder:{tmp_path / 'data'}", tmp_path / "run", settings, context=tiny_run.context)
    assert not len(run.data.split("val"))
    choice = run.choice
    assert (
        choice.member_weights == list(prior_calibration(4, terms=True).weights) and choice.uniform_share == 0
    )
    assert "No picture is left for val" in (run.directory / "report.html").read_text(encoding="utf-8")
    run.add_concept("square", words=["green square"])
    cv.export(run, tmp_path / "export", quantize="int8")
    run.remove_concept("square")
    cv.export(run, tmp_path / "export", context=False)


@pytest.mark.slow
@every(12)
@given(rows=tables())
def test_any_table(rows, tmp_path_factory, tiny_data):
    of_table(rows, tmp_path_factory.mktemp("data"), tiny_data)


@pytest.mark.slow
@every(6)
@given(paths=folders())
def test_any_folder(paths, tmp_path_factory, tiny_data):
    of_folder(paths, tmp_path_factory.mktemp("data"), tiny_data)
