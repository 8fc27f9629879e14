"""The geometry of line charts, which the template `macros.html.j2` draws as inline SVG."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

DASHES = ("", "7 4", "2 3", "9 3 2 3", "5 2", "1 5", "12 3", "3 6", "9 3 2 3 2 3")
_CIRCLE, _SQUARE, _TRIANGLE = "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z", "M-4-4h8v8h-8z", "M0-5L5 4H-5z"
_DIAMOND, _CROSS, _PLUS = "M0-5.5L5.5 0L0 5.5L-5.5 0z", "M-4-4L4 4M4-4L-4 4", "M0-5V5M-5 0H5"
MARKS = (_CIRCLE, _SQUARE, _TRIANGLE, _DIAMOND, _CROSS, _CIRCLE, _SQUARE, _TRIANGLE, _PLUS)
NUM_STYLES = len(DASHES)
# Mean width in user units of a character of the 12 unit labels, and the height of a line of them.
CHARACTER, LINE = 6.6, 15

Point = tuple[float, float]


class Series(NamedTuple):
    """The values of one line.

    Attributes:
        name: shown at the line's right end.
        points: (x, y) in ascending x.
        style: 0..8, sets colour, dashes and marker together, so that lines can be told apart in grey.
        deviations: one for each point, drawn as whiskers of ± one deviation; empty for none.
    """

    name: str
    points: Sequence[Point]
    style: int
    deviations: Sequence[float] = ()


class Tick(NamedTuple):
    """A label of an axis and its place in user units."""

    place: float
    text: str


class Line(NamedTuple):
    """A line in user units: `whiskers` are (x, top, bottom), `mark` is the path of a marker at each of `marked`."""

    name: str
    name_place: float
    style: int
    dashes: str
    points: list[Point]
    whiskers: list[tuple[float, float, float]]
    mark: str
    marked: list[Point]


class Chart(NamedTuple):
    """A line chart in user units."""

    title: str
    width: int
    height: int
    left: float
    right: float
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    lines: list[Line]


def line_chart(
    series: Sequence[Series],
    title: str,
    x_ticks: Sequence[tuple[float, str]],
    width: int = 380,
    height: int = 270,
    log_x: bool = False,
    marks: bool = True,
) -> Chart:
    """Lays out lines that carry their names at their right ends.

    Args:
        series: at least one, each with at least one point.
        title: read aloud instead of the chart.
        x_ticks: (x, text) under the axis, in ascending x; a tick that would touch the next one is left out.
        width: user units; the chart scales to its box.
        height: user units.
        log_x: whether the x axis is logarithmic (all x above 0).
        marks: whether each point has a marker.
    """
    # The name of style 0 is bold.
    right = 14 + CHARACTER * max(len(one.name) * (1.0 if one.style else 1.1) for one in series)
    box = _Box(series, [x for x, _ in x_ticks], (40.0, 12.0, width - right, height - 26.0), log_x)
    name_places = _apart([box.y(one.points[-1][1]) for one in series], box.bottom)
    return Chart(
        title,
        width,
        height,
        box.left,
        round(box.right, 1),
        [Tick(box.x(x), text) for x, text in _legible(x_ticks, box)],
        [Tick(box.y(y), f"{y:g}".replace("-", "−")) for y in box.y_ticks],
        [_line(one, box, round(place, 1), marks) for one, place in zip(series, name_places)],
    )


class _Box:
    """The rectangle of the lines: maps values to user units, rounded to a tenth."""

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
        """Insets both ends by 8 units, so that markers stay inside."""
        span = self._x1 - self._x0
        share = (self._scale(value) - self._x0) / span if span else 0.5
        return round(self.left + 8 + share * (self.right - self.left - 16), 1)

    def y(self, value: float) -> float:
        low, high = self.y_ticks[0], self.y_ticks[-1]
        return round(self.bottom - (value - low) / (high - low) * (self.bottom - self.top), 1)


def _nice_ticks(low: float, high: float) -> list[float]:
    span = high - low or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / 3))
    step = next(power * factor for factor in (1, 2, 5, 10) if span / (power * factor) <= 4)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    if first == last:  # one value: the axis ends there, so that it does not go beyond 100%
        first, last = (first - 1, last) if low > 0 else (first, last + 1)
    return [round(step * count, 10) for count in range(first, last + 1)]


def _legible(ticks: Sequence[tuple[float, str]], box: _Box) -> list[tuple[float, str]]:
    """Keeps the last tick, and each tick before it that leaves a gap to the next one."""
    kept: list[tuple[float, str]] = []
    for x, text in reversed(ticks):
        width = CHARACTER * (len(text) + len(kept[-1][1])) / 2 if kept else 0.0
        if not kept or box.x(kept[-1][0]) - box.x(x) > width + 2 * CHARACTER:
            kept.append((x, text))
    return kept[::-1]


def _apart(places: Sequence[float], bottom: float) -> list[float]:
    """Moves labels down until none overlaps the one above, then up from the bottom if they leave the chart."""
    order = sorted(range(len(places)), key=lambda index: places[index])
    moved = list(places)
    for above, below in pairwise(order):
        moved[below] = max(moved[below], moved[above] + LINE)
    limit = bottom
    for index in reversed(order):
        moved[index] = min(moved[index], limit)
        limit = moved[index] - LINE
    return moved


def _line(one: Series, box: _Box, name_place: float, marks: bool) -> Line:
    points = [(box.x(x), box.y(y)) for x, y in one.points]
    whiskers = [
        (box.x(x), box.y(y + deviation), box.y(y - deviation))
        for (x, y), deviation in zip(one.points, one.deviations)
    ]
    style = one.style % NUM_STYLES
    marked = points if marks or len(points) == 1 else []
    return Line(one.name, name_place, style, DASHES[style], points, whiskers, MARKS[style], marked)
