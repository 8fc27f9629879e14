"""Makes the report's tables from records."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from ctxvision.metrics.records import Record, select, summary
from ctxvision.report import findings

# The order and the names of the methods.
METHODS = {
    "visual_only": "visual only",
    "multimodal_long_tailed": "multimodal, long tail",
    "multimodal": "multimodal",
    "multimodal_without_terms": "without label terms",
    "multimodal_concat_small": "concatenation, small",
    "multimodal_concat": "concatenation",
    "text_only_small": "text only, small",
    "text_only": "text only",
    "multimodal_no_label_words": "no label words",
    "web_features": "web features",
    "visual_web": "visual + web features",
    "shuffled_phrases": "shuffled phrases",
    "text_only_curve": "text only",
    "visual_bottleneck": "visual + 64-d",
    "visual_text": "visual + text",
    "visual_text_bottleneck": "visual + 64-d + text",
    "linear_probe": "linear probe",
    "multimodal_pool": "multimodal pool",
    "multimodal_linear_probe": "multimodal probe",
    "multimodal_mlp": "multimodal MLP",
    "visual_cache": "visual cache",
    "multimodal_cache": "multimodal cache",
    "concat": "concatenation",
    "pool": "pool",
    "mlb": "MLB",
    "mutan": "MUTAN",
    "first": "by share",
    "random": "random",
    "first_on_other_head": "by share, other head",
    "random_on_other_head": "random, other head",
}
METRICS = {
    "map": "mAP",
    "recall_at_precision_80": "recall at 80% precision",
    "ece": "calibration error",
    "ece_by_chance": "calibration error by chance",
    "mrr@10": "MRR@10",
    "semantic_iou": "semantic IoU",
    "probability_fall": "fall of probability",
    "precision_at_recall": "precision",
    "gain_count_spearman": "Spearman of gain and count",
}
LOWER_IS_BETTER = {"ece"}
NEITHER_IS_BETTER = {"ece_by_chance"}
PLAIN_NUMBERS = {
    *("gain_count_spearman", "parameters", "uniform_share"),
    *("weight_visual", "weight_context", "weight_query", "weight_terms"),
}
AXIS_NAMES = {"fraction": "share", "shots": "shots", "vocabulary": "vocabulary"}


class Cell(NamedTuple):
    """Text, with a small `spread` after it; `star` marks the best cell of several."""

    text: str
    spread: str = ""
    star: bool = False
    bold: bool = False


class Row(NamedTuple):
    """A named row of a table."""

    name: str
    cells: Sequence[Cell]


class Table(NamedTuple):
    """A table with its caption, which starts with the name of the split; a line parts its bodies."""

    split: str
    caption: str
    head: Sequence[str]
    bodies: Sequence[Sequence[Row]]


NOTHING = Cell("–")


def method_name(method: str) -> str:
    """Returns the name of a method in tables and charts."""
    return METHODS.get(method, method.replace("_", " "))


def metric_name(metric: str) -> str:
    """Returns the name of a metric in tables and charts: "top1" -> "top-1"."""
    return METRICS.get(metric) or re.sub(r"^top(\d+)", r"top-\1", metric).replace("_", " ")


def axis_value(key: str, value: Any) -> str:
    """Formats a value of an axis, such as "10%", "5 shots" or "1,000 phrases"."""
    if key == "fraction":
        return findings.percent(value)
    return f"{value:,} " + ("phrases" if key == "vocabulary" else "shot" + "s" * (value != 1))


def methods_of(records: Sequence[Record]) -> list[str]:
    """Returns the methods of the records: known ones in the order of `METHODS`, then others as they appear."""
    there = dict.fromkeys(record.method for record in records if record.method)
    return [method for method in METHODS if method in there] + [one for one in there if one not in METHODS]


def table_along(records: Sequence[Record], axis: str) -> Table:
    """Makes a table of one split: a column for each method, a row for each metric and value of `axis`, one of `AXIS_NAMES`."""
    methods, bodies = methods_of(records), []
    gains = {record.suite for record in records} == {"table1"}
    for metric in dict.fromkeys(record.metric for record in records):
        body = []
        rows = summary(select(records, metric=metric), by=(axis, "method"))
        for value in sorted({row[axis] for row in rows if row[axis] is not None}):
            found = {row["method"]: row for row in rows if row[axis] == value}
            row_cells = cells([found.get(method) for method in methods], metric)
            if gains:
                row_cells.append(_relative_gain(found))
            body.append(Row(f"{metric_name(metric)}, {axis_value(axis, value)}", row_cells))
        bodies.append(body)
    columns = [*map(method_name, methods), *(["relative gain"] if gains else [])]
    split, caption = _caption(records, "row", len(methods))
    return Table(split, caption, [f"metric, {AXIS_NAMES[axis]}", *columns], bodies)


def table_of_methods(records: Sequence[Record], comparable: bool = True) -> Table:
    """Makes a table of one split: a row for each method, a column for each metric.

    Args:
        records: records of one split.
        comparable: whether the best cell of each column is marked.
    """
    methods, metrics = methods_of(records), list(dict.fromkeys(record.metric for record in records))
    columns = []
    for metric in metrics:
        found = {row["method"]: row for row in summary(select(records, metric=metric), by=("method",))}
        columns.append(cells([found.get(method) for method in methods], metric, comparable))
    body = [Row(method_name(method), row) for method, row in zip(methods, zip(*columns))]
    split, caption = _caption(records, "column", len(methods) if comparable else 1)
    return Table(split, caption, ["method", *map(metric_name, metrics)], [body])


def table_of_differences(records: Sequence[Record]) -> list[Table]:
    """Makes a table of every recorded difference with its interval: a row for each comparison, a column for each split.

    Returns:
        One table, or none where there are no differences.
    """
    splits = findings.splits_of(records)
    by_fraction = {record.metric for record in records if record.fraction is not None}
    rows: dict[str, dict[str, Cell]] = {}
    for metric in dict.fromkeys(r.metric for r in records if "_over_" in r.metric):
        for method in methods_of(select(records, metric=metric)):
            for one in findings.intervals(records, method, metric):
                measured, _, base = metric.partition("_over_")
                name = f"{metric_name(measured)}: {method_name(method)} over {method_name(base)}"
                name += ", mean over shares" if one.fraction is None and metric in by_fraction else ""
                for axis in ("fraction", "shots"):
                    if getattr(one, axis) is not None:
                        name += f", {axis_value(axis, getattr(one, axis))}"
                rows.setdefault(name, {})[one.split] = Cell(one.text, bold=one.verdict != "none")
    if not rows:
        return []
    body = [Row(name, [found.get(split, NOTHING) for split in splits]) for name, found in rows.items()]
    caption = "Differences in points with their 95% intervals. Bold: the interval does not hold zero"
    return [Table("", caption, ["comparison", *splits], [body])]


def table_of_hits(records: Sequence[Record]) -> Table | None:
    """Makes the table of suite `phrases`: a row for each split, a column for each hit@k; None if there are no records."""
    metrics, body = sorted({record.metric for record in records}), []
    for split in findings.splits_of(records):
        found = {row["metric"]: row for row in summary(select(records, split=split), by=("metric",))}
        body.append(Row(split, [_percent(found[one]) if one in found else NOTHING for one in metrics]))
    caption = "hit@k: share of the pictures, in %, for which one of the first k phrases is a query of the pictured thing"
    return Table("", caption, ["split", *metrics], [body]) if records else None


def cells(rows: Sequence[dict[str, Any] | None], metric: str, comparable: bool = True) -> list[Cell]:
    """Makes the cells of summary rows, in % unless the metric is a plain number; the best of several is starred and bold."""
    means = [round(100 * row["mean"], 1) for row in rows if row]
    best = (min if metric in LOWER_IS_BETTER else max)(means) if means else None
    starred = comparable and len(means) > 1 and metric not in PLAIN_NUMBERS | NEITHER_IS_BETTER
    found = []
    for row in rows:
        if row is None:
            found.append(NOTHING)
        elif metric in PLAIN_NUMBERS:
            found.append(Cell(_plain(row["mean"])))
        else:
            wins = starred and round(100 * row["mean"], 1) == best
            found.append(_percent(row)._replace(star=wins, bold=wins))
    return found


def _percent(row: dict[str, Any]) -> Cell:
    number, _, deviation = findings.spread(100 * row["mean"], 100 * row["deviation"], row["n"]).partition(" ")
    return Cell(number, deviation)


def _caption(records: Sequence[Record], line: str, compared: int) -> tuple[str, str]:
    split = records[0].split or "all"
    if all(record.metric in PLAIN_NUMBERS for record in records):
        return split, ""
    seeds = max(row["n"] for row in summary(records, by=("method", "metric", *AXIS_NAMES)))
    over = f"mean ± standard deviation over {seeds} seeds" if seeds > 1 else "one seed"
    best = f"; ★ and bold: best of its {line}" if compared > 1 else ""
    return split, f"in %, {over}{best}"


def _plain(value: float) -> str:
    return (f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}").replace("-", "−")


def _relative_gain(found: dict[str, dict[str, Any]]) -> Cell:
    if "visual_only" not in found or "multimodal" not in found or not found["visual_only"]["mean"]:
        return NOTHING
    gain = found["multimodal"]["mean"] / found["visual_only"]["mean"] - 1
    return Cell(f"{findings.signed(100 * gain)}%")
