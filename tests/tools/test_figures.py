"""README's figures: drawn from committed JSON, readable, small."""

import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

import ctxvision as cv
from tools import figures

SVG = "{http://www.w3.org/2000/svg}"
NAMES = ("way.svg", "chart.svg", "examples.svg")


def committed(name):
    return (figures.FIGURES / name).read_text(encoding="utf-8")


def texts(svg):
    return [one.text for one in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_committed_figures_are_those_of_the_committed_json():
    table, answers = (
        json.loads(path.read_text(encoding="utf-8"))
        for path in (figures.TABLE, figures.FIGURES / "answers.json")
    )
    assert figures.figures(table, answers) == {name: committed(name) for name in NAMES}
    assert sum(path.stat().st_size for path in figures.FIGURES.iterdir()) < 300_000


def test_the_charts_numbers_are_the_measured_ones():
    rows = {
        f"{row['split']} {row['fraction']:g} {row['method']}": row
        for row in json.loads(figures.TABLE.read_text(encoding="utf-8"))["rows"]
        if row["suite"] == "table1" and row["metric"] == "top1"
    }
    parts = [*ElementTree.fromstring(committed("chart.svg")).iter()]
    shown = [(bar, text) for bar, text in zip(parts, parts[1:]) if "data-row" in text.attrib]
    assert len(shown) == 2 * 3 * 6
    for bar, text in shown:
        row = rows[text.get("data-row")]
        assert text.text == f"{100 * row['mean']:.1f} ± {100 * row['deviation']:.1f}"
        assert float(bar.get("width")) / row["mean"] == pytest.approx(130, abs=0.5)
    heads = [text for text in texts(committed("chart.svg")) if text.endswith("of the labels")]
    assert heads == ["10% of the labels", "30% of the labels", "100% of the labels"]


def test_examples_show_the_answers():
    answers = json.loads(committed("answers.json"))
    assert [one["name"] for one in answers["drawings"]] == [*figures.DRAWINGS]
    shown = texts(committed("examples.svg"))
    for one in answers["drawings"]:
        for answer in (one["visual_only"], one["with_context"]):
            assert f"{answer['label']} {answer['score']:.0%}" in shown
        assert all(any(f"“{phrase}”" in text for text in shown) for phrase in one["phrases"])


def test_no_text_leaves_its_figure():
    """By a generous width of letters: what a browser shows depends on the fonts of its machine."""
    for name in NAMES:
        for text in ElementTree.fromstring(committed(name)).iter(f"{SVG}text"):
            letter = 8.2 if "small" in text.get("class", "") else 9.2
            if text.get("text-anchor") != "middle":
                assert float(text.get("x")) + letter * len(text.text) <= figures.WIDTH, text.text


@pytest.mark.parametrize("name", figures.DRAWINGS)
def test_a_shape_is_at_one_place_as_pixels_and_as_svg(name):
    for shape in figures.DRAWINGS[name]:
        black = shape._replace(colour="#000000")
        painted = np.argwhere(np.asarray(figures.picture([black]).convert("L")) < 128)[:, ::-1]
        expected = bounds(ElementTree.fromstring(black.svg()))
        unit = figures.PIXELS / 100
        np.testing.assert_allclose(
            [painted.min(axis=0) / unit, (painted.max(axis=0) + 1) / unit], expected, atol=2.5
        )


def bounds(shape):
    """Least and greatest x and y of an SVG ellipse or polygon."""
    if shape.tag == "polygon":
        points = [[float(value) for value in point.split(",")] for point in shape.get("points").split()]
        return [[*map(min, zip(*points, strict=True))], [*map(max, zip(*points, strict=True))]]
    x, y, across, down = (float(shape.get(key)) for key in ("cx", "cy", "rx", "ry"))
    return [[x - across, y - down], [x + across, y + down]]


@pytest.mark.slow
def test_answers_are_those_of_the_runs_exports(kept_run, tmp_path):
    answers = figures.answers_of(kept_run.directory)
    assert answers["commit"] == json.loads((kept_run.directory / "config.json").read_text())["commit"]
    files = [tmp_path / f"{name}.png" for name in figures.DRAWINGS]
    for file, shapes in zip(files, figures.DRAWINGS.values(), strict=True):
        figures.picture(shapes).save(file)
    exported = cv.predict(kept_run.directory / "export", [*map(str, files)], explain=True)
    for one, told in zip(answers["drawings"], exported, strict=True):
        assert one["with_context"] == {"label": told.label, "score": round(told.score, 4)}
        assert one["phrases"] == [phrase for phrase, _ in told.phrases[: figures.SHOWN_PHRASES]]
        assert one["visual_only"]["label"] in kept_run.choice.labels
        assert one["printed"][0] == f"{one['name']}.png" and told.explanation.sentence in one["printed"][4]
