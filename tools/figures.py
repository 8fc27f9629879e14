"""Draws the figures of README into tools/figures/: way.svg, chart.svg and examples.svg.

    python tools/figures.py [RUN]

RUN is a finished demo. Its export is asked about the drawings below, with and without context, and the answers go to
tools/figures/answers.json. Without RUN that file stays as it is. The chart is drawn from results/table1-emoji.json of
tools/benchmarks.
"""

import dataclasses
import datetime
import sys
import tempfile
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, ImageDraw

from ctxvision._files import read_json, write_json

FIGURES = Path(__file__).parent / "figures"
TABLE = Path(__file__).parent / "benchmarks" / "results" / "table1-emoji.json"

METHODS = {
    "visual_only": "visual only",
    "multimodal": "with context",
    "text_only": "phrases alone",
    "multimodal_concat": "concatenation",
    "visual_web": "visual + web features",
    "shuffled_phrases": "shuffled phrases",
}
SPLITS = ("seen", "unseen")
FRACTIONS = (0.1, 0.3, 1.0)
SHOWN_PHRASES = 4

WIDTH = 560
PIXELS = 160  # side of the picture that the model is asked about
_FINER = 4  # Pillow draws without anti-aliasing: larger, then scaled down

STYLE = """
text { font: 16px system-ui, -apple-system, "Segoe UI", "Helvetica Neue", Arial, sans-serif; fill: #1f2328 }
.page { fill: #ffffff } .box { fill: #f6f8fa; stroke: #d1d9e0 } .paper { fill: #ffffff; stroke: #d1d9e0 }
.bar { fill: #b7c0ca } .line { stroke: #59636e; fill: none; stroke-width: 1.5 } .head { fill: #59636e }
.small { font-size: 14px } .muted { fill: #59636e } .strong { font-weight: 600 }
.context.bar { fill: #0969da } .visual.bar { fill: #6e7781 }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc } .page { fill: #0d1117 } .box { fill: #151b23; stroke: #3d444d } .paper { stroke: #3d444d }
  .bar { fill: #3d444d } .line { stroke: #9198a1 } .head { fill: #9198a1 } .muted { fill: #9198a1 }
  .context.bar { fill: #4493f8 } .visual.bar { fill: #7d8590 }
}"""


class Ellipse(NamedTuple):
    """Axes parallel to the drawing's sides; the drawing is 100 units wide and high."""

    colour: str
    x: float
    y: float
    across: float  # half the width
    down: float  # half the height

    def paint(self, pen: ImageDraw.ImageDraw, unit: float) -> None:
        left, top = self.x - self.across, self.y - self.down
        right, bottom = self.x + self.across, self.y + self.down
        pen.ellipse([left * unit, top * unit, right * unit, bottom * unit], fill=self.colour)

    def svg(self) -> str:
        return f'<ellipse cx="{self.x:g}" cy="{self.y:g}" rx="{self.across:g}" ry="{self.down:g}" fill="{self.colour}"/>'


class Polygon(NamedTuple):
    """A filled polygon."""

    colour: str
    points: Sequence[tuple[float, float]]

    def paint(self, pen: ImageDraw.ImageDraw, unit: float) -> None:
        pen.polygon([(x * unit, y * unit) for x, y in self.points], fill=self.colour)

    def svg(self) -> str:
        points = " ".join(f"{x:g},{y:g}" for x, y in self.points)
        return f'<polygon points="{points}" fill="{self.colour}"/>'


DRAWINGS: dict[str, list[Ellipse | Polygon]] = {
    "apple": [
        Polygon("#7a4a21", [(48, 32), (50, 14), (55, 13), (53, 32)]),
        Polygon("#4caf3d", [(54, 22), (62, 11), (78, 9), (73, 20), (62, 25)]),
        Ellipse("#d9262b", 36, 56, 24, 28),
        Ellipse("#d9262b", 64, 56, 24, 28),
        Ellipse("#d9262b", 50, 64, 27, 27),
        Ellipse("#f0716d", 28, 47, 6, 11),
    ],
    "guitar": [
        Polygon("#5b3a20", [(60, 36), (64, 40), (91, 13), (87, 9)]),
        Polygon("#3c2413", [(84, 9), (91, 16), (97, 10), (90, 3)]),
        Ellipse("#c8752b", 34, 66, 24, 24),
        Ellipse("#c8752b", 52, 48, 17, 17),
        Polygon("#c8752b", [(23, 45), (40, 36), (64, 60), (55, 77)]),
        Ellipse("#3c2413", 46, 54, 8, 8),
        Polygon("#3c2413", [(22, 70), (30, 78), (32, 76), (24, 68)]),
        Polygon("#e8dcc8", [(26, 73), (27, 74), (88, 13), (87, 12)]),
    ],
    "fish": [
        Polygon("#1f78b4", [(68, 50), (94, 26), (86, 50), (94, 74)]),
        Polygon("#1f78b4", [(34, 32), (54, 14), (64, 36)]),
        Polygon("#1f78b4", [(42, 66), (56, 84), (60, 62)]),
        Ellipse("#38a3dd", 44, 50, 36, 22),
        Ellipse("#9fd6f5", 42, 58, 26, 12),
        Polygon("#1f78b4", [(42, 50), (58, 44), (58, 58)]),
        Ellipse("#ffffff", 22, 44, 6, 6),
        Ellipse("#1d1d1d", 21, 44, 3, 3),
    ],
}


def main(arguments: Sequence[str]) -> None:
    if arguments:
        write_json(FIGURES / "answers.json", answers_of(arguments[0]))
    for name, svg in figures(read_json(TABLE), read_json(FIGURES / "answers.json")).items():
        (FIGURES / name).write_text(svg, encoding="utf-8")


def figures(table: dict[str, Any], answers: dict[str, Any]) -> dict[str, str]:
    """File name to SVG.

    Args:
        table: what `tools/benchmarks/table1.py` wrote about the demo.
        answers: of `answers_of`.
    """
    asked = answers["drawings"]
    return {"way.svg": way(asked[0]), "chart.svg": chart(table["rows"]), "examples.svg": examples(asked)}


def answers_of(run: str | Path) -> dict[str, Any]:
    """What a run's exports answer about each drawing, with context and `--without-context`, and where that comes from."""
    import ctxvision as cv
    from ctxvision.serving import format_prediction

    run = cv.Run(run)
    trained = read_json(run.directory / "config.json")
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, f"{name}.png") for name in DRAWINGS]
        for file, shapes in zip(files, DRAWINGS.values(), strict=True):
            picture(shapes).save(file)
        with_context, without = (
            cv.predict(
                cv.export(run, Path(folder, name), context=context), [*map(str, files)], explain=context
            )
            for name, context in (("with", True), ("without", False))
        )
    return {
        "date": datetime.date.today().isoformat(),
        "commit": trained["commit"],
        "versions": trained["versions"],
        "drawings": [
            {
                "name": name,
                "phrases": [phrase for phrase, _ in told.phrases[:SHOWN_PHRASES]],
                "visual_only": {"label": alone.label, "score": round(alone.score, 4)},
                "with_context": {"label": told.label, "score": round(told.score, 4)},
                "printed": format_prediction(
                    dataclasses.replace(told, path=f"{name}.png"), explain=True
                ).splitlines(),
            }
            for name, told, alone in zip(DRAWINGS, with_context, without, strict=True)
        ],
    }


def picture(shapes: Iterable[Ellipse | Polygon]) -> Image.Image:
    """A drawing on white, as the model is asked about it."""
    side = PIXELS * _FINER
    image = Image.new("RGB", (side, side), "#ffffff")
    pen = ImageDraw.Draw(image)
    for shape in shapes:
        shape.paint(pen, side / 100)
    return image.resize((PIXELS, PIXELS), Image.Resampling.LANCZOS)


def way(answer: dict[str, Any]) -> str:
    """From pixels to phrases and visual features, and from both to the label, on a picture."""
    label = f"{answer['with_context']['label']} {answer['with_context']['score']:.0%}"
    parts = [
        _drawing(answer["name"], 12, 62, 96),
        _text(60, 178, "pixels", "muted", "middle"),
        _arrow([(112, 100), (130, 100), (130, 62), (150, 62)]),
        _arrow([(112, 120), (130, 120), (130, 178), (150, 178)]),
        _box(152, 12, 216, 102),
        _text(166, 36, "phrases", "strong"),
        *(_text(166, 59 + 20 * place, f"“{phrase}”") for place, phrase in enumerate(answer["phrases"][:2])),
        _text(166, 102, "what people search for", "small muted"),
        _box(152, 146, 216, 62),
        _text(166, 170, "visual features", "strong"),
        _text(166, 193, "what a ConvNet sees", "small muted"),
        _arrow([(370, 62), (388, 62), (388, 100), (406, 100)]),
        _arrow([(370, 178), (388, 178), (388, 120), (406, 120)]),
        _box(408, 78, 140, 64),
        _text(422, 102, "label", "strong"),
        _text(422, 125, label),
    ]
    return _page(220, "Pixels give phrases and visual features; both give the label.", parts)


def chart(rows: Iterable[dict[str, Any]]) -> str:
    """Top-1 of each method in bars: three shares of labelled pictures, two test splits.

    Args:
        rows: of a run's table, those of suite `table1`; means and deviations in 0..1.
    """
    top1 = {
        (row["split"], row["fraction"], row["method"]): (100 * row["mean"], 100 * row["deviation"])
        for row in rows
        if row["suite"] == "table1" and row["metric"] == "top1"
    }
    lefts = {"seen": 190, "unseen": 376}
    scale = 1.3  # user units a percentage point
    parts = [_text(lefts[split], 28, f"{split} things", "strong") for split in SPLITS]
    y = 28
    for fraction in FRACTIONS:
        y += 32
        parts.append(_text(12, y, f"{fraction:.0%} of the labels", "strong small"))
        for method, name in METHODS.items():
            y += 21
            kind = {"multimodal": "context", "visual_only": "visual"}.get(method, "other")
            bold = "strong " if method == "multimodal" else ""
            parts.append(_text(24, y, name, f"{bold}small"))
            for split, left in lefts.items():
                mean, deviation = top1[split, fraction, method]
                parts.append(
                    f'<rect class="bar {kind}" x="{left}" y="{y - 12}" width="{scale * mean:.1f}" height="14"/>'
                    f'<text class="{bold}small" data-row="{split} {fraction:g} {method}" '
                    f'x="{left + scale * mean + 6:.1f}" y="{y}">{mean:.1f} ± {deviation:.1f}</text>'
                )
    return _page(y + 16, "Top-1 in % of the demo's heads, mean and deviation over 3 seeds.", parts)


def examples(answers: Sequence[dict[str, Any]]) -> str:
    """Drawings with their phrases, and the answers with and without context."""
    parts, row = [], 132
    for number, answer in enumerate(answers):
        top = 12 + row * number
        parts.append(_drawing(answer["name"], 12, top, 108))
        for place, start in enumerate(range(0, SHOWN_PHRASES, 2)):
            told = ", ".join(f"“{phrase}”" for phrase in answer["phrases"][start : start + 2])
            parts.append(_text(138, top + 18 + 21 * place, told))
        for place, (key, name, kind) in enumerate(
            (("visual_only", "visual only", "visual"), ("with_context", "with context", "context"))
        ):
            y, score = top + 73 + 25 * place, answer[key]["score"]
            bold = "strong " if kind == "context" else ""
            parts += [
                _text(138, y, name, f"{bold}small"),
                f'<rect class="bar {kind}" x="248" y="{y - 12}" width="{100 * score:.1f}" height="14"/>',
                _text(254 + 100 * score, y, f"{answer[key]['label']} {score:.0%}", f"{bold}small"),
            ]
    return _page(row * len(answers), "Three drawings with their phrases and both answers.", parts)


def _page(height: int, title: str, parts: Iterable[str]) -> str:
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        'role="img">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}\n</style>\n"
        f'<rect class="page" width="{WIDTH}" height="{height}" rx="6"/>\n{body}\n</svg>\n'
    )


def _text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    named = f' class="{kind}"' if kind else ""
    placed = f' text-anchor="{anchor}"' if anchor != "start" else ""
    return f'<text{named} x="{x:g}" y="{y:g}"{placed}>{escape(words)}</text>'


def _box(x: float, y: float, width: float, height: float) -> str:
    return f'<rect class="box" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6"/>'


def _arrow(points: Sequence[tuple[float, float]]) -> str:
    x, y = points[-1]
    path = " L".join(f"{a:g} {b:g}" for a, b in points)
    return f'<path class="line" d="M{path}"/><path class="head" d="M{x - 6:g} {y - 4:g}l7 4l-7 4z"/>'


def _drawing(name: str, x: float, y: float, side: float) -> str:
    shapes = "".join(shape.svg() for shape in DRAWINGS[name])
    return (
        f'<g transform="translate({x:g} {y:g}) scale({side / 100:g})">'
        f'<rect class="paper" width="100" height="100" rx="6"/>{shapes}</g>'
    )


if __name__ == "__main__":
    main(sys.argv[1:])
