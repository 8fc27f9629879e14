"""Line charts as inline SVG: no script, no font, nothing to load."""

import math
from collections.abc import Sequence
from html import escape
from itertools import pairwise
from typing import NamedTuple

DASHES = ("", "7 4", "2 3", "9 3 2 3", "5 2", "1 5", "12 3", "3 6")
MARKS = ("circle", "square", "triangle", "diamond", "cross", "circle", "square", "triangle")
NUM_STYLES = len(DASHES)
CHARACTER = 6.6  # mean width in user units of a character of the 12 unit labels
LINE = 15


class Series(NamedTuple):
    """One line: its name, its points (x, y) in ascending x, and which style (0..7) it wears.

    The style decides colour, dash and marker together, so that a method looks the same in every chart and
    can be told apart in grey. `deviations`, where given, are drawn as whiskers of ± that much.
    """

    name: str
    points: Sequence[tuple[float, float]]
    style: int
    deviations: Sequence[float] = ()


def line_chart(
    series: Sequence[Series],
    title: str,
    x_ticks: Sequence[tuple[float, str]],
    width: int = 380,
    height: int = 270,
    log_x: bool = False,
    marks: bool = True,
) -> str:
    """A chart of lines that carry their names at their right ends.

    Args:
        series: at least one, each with at least one point.
        title: read aloud in place of the picture.
        x_ticks: `(x, text)` under the axis, ascending; one that would touch the next is left out.
        width: user units; the picture scales to its box.
        height: user units.
        log_x: logarithmic x axis (all x above 0).
        marks: whether each point wears a marker.

    Returns:
        An `<svg>` element. Colours come from the page's classes `s0`..`s7`, `grid` and `whisker`.
    """
    # The first style is bold.
    right = 14 + CHARACTER * max(len(one.name) * (1.0 if one.style else 1.1) for one in series)
    box = _Box(series, [x for x, _ in x_ticks], (40.0, 12.0, width - right, height - 26.0), log_x)
    parts = [
        f'<line class="grid" x1="{box.left:.1f}" x2="{box.right:.1f}" y1="{box.y(tick):.1f}" '
        f'y2="{box.y(tick):.1f}"/><text x="{box.left - 6:.1f}" y="{box.y(tick) + 4:.1f}" '
        f'text-anchor="end">{f"{tick:g}".replace("-", "−")}</text>'
        for tick in box.y_ticks
    ]
    parts += [
        f'<text x="{box.x(x):.1f}" y="{height - 6}" text-anchor="middle">{escape(text)}</text>'
        for x, text in _legible(x_ticks, box)
    ]
    places = _apart([box.y(one.points[-1][1]) for one in series], box.bottom)
    parts += [_line(one, box, place, marks) for one, place in zip(series, places)]
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )


class _Box:
    """The plot's rectangle and the way from values to places in it."""

    def __init__(
        self,
        series: Sequence[Series],
        x_ticks: Sequence[float],
        corners: tuple[float, float, float, float],
        log_x: bool,
    ) -> None:
        self.left, self.top, self.right, self.bottom = corners
        self._scale = math.log if log_x else float
        xs = [self._scale(x) for one in series for x, _ in one.points] + [self._scale(x) for x in x_ticks]
        ys = [y for one in series for _, y in one.points]
        for one in series:
            for (_, y), deviation in zip(one.points, one.deviations):
                ys += [y - deviation, y + deviation]
        self._x0, self._x1 = min(xs), max(xs)
        self.y_ticks = _nice_ticks(min(ys), max(ys))

    def x(self, value: float) -> float:
        """Inset by 8 units, so that markers and whiskers at the ends stay inside."""
        span = self._x1 - self._x0
        share = (self._scale(value) - self._x0) / span if span else 0.5
        return self.left + 8 + share * (self.right - self.left - 16)

    def y(self, value: float) -> float:
        low, high = self.y_ticks[0], self.y_ticks[-1]
        return self.bottom - (value - low) / (high - low) * (self.bottom - self.top)


def _nice_ticks(low: float, high: float) -> list[float]:
    span = high - low or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / 3))
    step = next(power * factor for factor in (1, 2, 5, 10) if span / (power * factor) <= 4)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * count, 10) for count in range(first, max(last, first + 1) + 1)]


def _legible(ticks: Sequence[tuple[float, str]], box: _Box) -> list[tuple[float, str]]:
    """The last tick, and of those before it each that leaves a gap to the one after."""
    kept: list[tuple[float, str]] = []
    for x, text in reversed(ticks):
        width = CHARACTER * (len(text) + len(kept[-1][1])) / 2 if kept else 0.0
        if not kept or box.x(kept[-1][0]) - box.x(x) > width + 2 * CHARACTER:
            kept.append((x, text))
    return kept[::-1]


def _apart(places: Sequence[float], bottom: float) -> list[float]:
    """Moves labels down until none overlaps the one above, then up from the bottom where they ran out."""
    order = sorted(range(len(places)), key=lambda index: places[index])
    moved = list(places)
    for above, below in pairwise(order):
        moved[below] = max(moved[below], moved[above] + LINE)
    limit = bottom
    for index in reversed(order):
        moved[index] = min(moved[index], limit)
        limit = moved[index] - LINE
    return moved


def _line(one: Series, box: _Box, place: float, marks: bool) -> str:
    points = [(box.x(x), box.y(y)) for x, y in one.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dash = DASHES[one.style % len(DASHES)]
    parts = [f'<polyline points="{path}"' + (f' stroke-dasharray="{dash}"' if dash else "") + "/>"]
    for (x, y), (_, value), deviation in zip(points, one.points, one.deviations):
        reach = abs(box.y(value + deviation) - y)
        parts.append(
            f'<line class="whisker" x1="{x:.1f}" x2="{x:.1f}" y1="{y - reach:.1f}" y2="{y + reach:.1f}"/>'
        )
    if marks or len(points) == 1:
        parts += [_mark(MARKS[one.style % len(MARKS)], x, y) for x, y in points]
    end_x, end_y = points[-1]
    parts.append(
        f'<line class="whisker" x1="{end_x + 5:.1f}" y1="{end_y:.1f}" x2="{box.right + 6:.1f}" '
        f'y2="{place:.1f}"/><text class="name" x="{box.right + 9:.1f}" y="{place + 4:.1f}">'
        f"{escape(one.name)}</text>"
    )
    return f'<g class="s{one.style}">{"".join(parts)}</g>'


def _mark(shape: str, x: float, y: float) -> str:
    if shape == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
    outline = {
        "square": "M-4-4h8v8h-8z",
        "triangle": "M0-5L5 4H-5z",
        "diamond": "M0-5.5L5.5 0L0 5.5L-5.5 0z",
        "cross": "M-4-4L4 4M4-4L-4 4",
    }[shape]
    return f'<path class="mark" transform="translate({x:.1f} {y:.1f})" d="{outline}"/>'
