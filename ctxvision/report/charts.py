"""Makes the report's charts from records."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from ctxvision.metrics.records import Record, select, summary
from ctxvision.report import findings
from ctxvision.report.svg import NUM_STYLES, Chart, Series, line_chart
from ctxvision.report.tables import method_name, methods_of, metric_name

STYLES = {
    "multimodal": 0,
    "visual_only": 1,
    "text_only": 2,
    "shuffled_phrases": 3,
    "multimodal_no_label_words": 4,
    "multimodal_linear_probe": 0,
    "linear_probe": 1,
    "first_on_other_head": 0,
    "random_on_other_head": 1,
    "calibrated": 0,
    "uncalibrated": 2,
}
ACROSS = {
    "fraction": "share of the labelled pictures (logarithmic)",
    "shots": "pictures a label (logarithmic)",
    "vocabulary": "phrases in the vocabulary (logarithmic)",
}
# Metrics named FAMILY/NUMBER whose values form a curve, and the meaning of the number.
FAMILIES = {
    "precision_at_recall": "recall",
    "probability_fall": "phrases removed",
}


class Figure(NamedTuple):
    """A chart with its caption, which starts with the name of the split."""

    chart: Chart
    split: str
    caption: str


def chart_along(records: Sequence[Record], metric: str, axis: str) -> Figure | None:
    """Draws a metric of one split against a logarithmic axis: one line a method, whiskers of one deviation.

    Returns None if the axis has fewer than two values.
    """
    here, styles, series = select(records, metric=metric), _styles(records), []
    for method in methods_of(here):
        rows = [row for row in summary(select(here, method=method), by=(axis,)) if row[axis]]
        rows.sort(key=lambda row: row[axis])
        if rows:
            points = [(float(row[axis]), 100 * row["mean"]) for row in rows]
            deviations = [100 * row["deviation"] for row in rows]
            series.append(Series(method_name(method), points, styles[method], deviations))
    values = sorted({x for one in series for x, _ in one.points})
    if len(values) < 2:
        return None
    ticks = [(x, findings.percent(x) if axis == "fraction" else f"{x:,.0f}") for x in values]
    name, split = metric_name(metric), str(here[0].split)
    chart = line_chart(series, f"{name} in % on {split} against the {ACROSS[axis]}", ticks, log_x=True)
    whiskers = ", whiskers ± one deviation" if len({record.seed for record in here}) > 1 else ""
    return Figure(chart, split, f"{name} in %{whiskers}; horizontal axis: {ACROSS[axis]}")


def chart_of_family(records: Sequence[Record], family: str) -> Figure | None:
    """Draws the metrics `FAMILY/NUMBER` of one split against the number: one line a method.

    Returns None if there are fewer than two numbers.
    """
    styles, series = _styles(records), []
    for method in methods_of(records):
        points = []
        for row in summary(select(records, method=method), by=("metric",)):
            name, _, number = row["metric"].partition("/")
            if name == family and number:
                points.append((float(number), 100 * row["mean"]))
        if points:
            series.append(Series(method_name(method), sorted(points), styles[method]))
    values = sorted({x for one in series for x, _ in one.points})
    if len(values) < 2:
        return None
    name, split, across = metric_name(family), str(records[0].split), FAMILIES[family]
    ticks = [(x, f"{x:g}") for x in values]
    chart = line_chart(series, f"{name} in % on {split}", ticks, marks=len(values) <= 10)
    return Figure(chart, split, f"{name} in %; horizontal axis: {across}")


def reliability_chart(records: Sequence[Record]) -> Figure | None:
    """Draws accuracy against confidence of one split, by method; empty bins are left out.

    Returns None if no method has bins.
    """
    series = [Series("perfect", [(0.0, 0.0), (1.0, 100.0)], 1)]
    for method in methods_of(records):
        found = {
            row["metric"]: row["mean"] for row in summary(select(records, method=method), by=("metric",))
        }
        bins = [
            name[: -len("_share")] for name in found if re.fullmatch(r"bin\d+_share", name) and found[name]
        ]
        points = [(found[f"{one}_confidence"], 100 * found[f"{one}_accuracy"]) for one in bins]
        if points:
            series.append(Series(method_name(method), sorted(points), _styles(records)[method]))
    if len(series) == 1:
        return None
    ticks = [(x / 4, f"{25 * x}%") for x in range(5)]
    split = str(records[0].split)
    chart = line_chart(series, f"Accuracy in % on {split} against confidence", ticks)
    return Figure(chart, split, "accuracy in %; horizontal axis: confidence of the model")


def _styles(records: Sequence[Record]) -> dict[str, int]:
    """Gives a known method the same style in every chart, and other methods the styles that are left."""
    methods = methods_of(records)
    known = {method: STYLES[method] for method in methods if method in STYLES}
    free = [style for style in range(NUM_STYLES) if style not in known.values()] or [0]
    others = [method for method in methods if method not in known]
    return known | {method: free[i % len(free)] for i, method in enumerate(others)}
