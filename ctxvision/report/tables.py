"""The report's tables: records to HTML, all text escaped."""

import re
from collections.abc import Sequence
from html import escape
from typing import Any

from ctxvision.metrics.records import Record, select, summary
from ctxvision.report import findings

# The methods' order in tables, their names there, and what a chart's line wears (see `svg.Series`).
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


def method_name(method: str) -> str:
    """As tables and charts show it."""
    return METHODS.get(method, method.replace("_", " "))


def metric_name(metric: str) -> str:
    """ "top1" -> "top-1"."""
    return METRICS.get(metric) or re.sub(r"^top(\d+)", r"top-\1", metric).replace("_", " ")


def axis_value(key: str, value: Any) -> str:
    """A fraction, a number of shots or of phrases, in words."""
    if key == "fraction":
        return findings.percent(value)
    return f"{value:,} " + ("phrases" if key == "vocabulary" else "shot" + "s" * (value != 1))


def methods_of(records: Sequence[Record]) -> list[str]:
    """Those of `METHODS` in its order, then any others as they appear."""
    there = dict.fromkeys(record.method for record in records if record.method)
    return [method for method in METHODS if method in there] + [one for one in there if one not in METHODS]


def boxed(caption: str, table: str) -> str:
    """A table that scrolls inside its own box; the caption stays outside, so that it wraps with the page."""
    return (
        f'<figure class="table"><figcaption>{caption}</figcaption><div class="box" role="region" tabindex="0" '
        f'aria-label="table"><table>{table}</table></div></figure>'
    )


def table(
    caption: str, corner: str, columns: Sequence[str], bodies: Sequence[Sequence[tuple[str, Sequence[str]]]]
) -> str:
    """Named rows of ready cells (`<td>`), in bodies that a line parts; names are escaped, `caption` is HTML."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in (corner, *columns))
    parts = [
        "".join(f'<tr><th scope="row">{escape(name)}</th>{"".join(cells)}</tr>' for name, cells in body)
        for body in bodies
    ]
    return boxed(
        caption, f"<thead><tr>{head}</tr></thead>{''.join(f'<tbody>{part}</tbody>' for part in parts)}"
    )


def table_along(records: Sequence[Record], axis: str) -> str:
    """Methods beside each other: a row for each metric and value of `axis`, one of `AXIS_NAMES`; of one split."""
    methods, bodies = methods_of(records), []
    gains = {record.suite for record in records} == {"table1"}
    for metric in dict.fromkeys(record.metric for record in records):
        body = []
        rows = summary(select(records, metric=metric), by=(axis, "method"))
        for value in sorted({row[axis] for row in rows if row[axis] is not None}):
            found = {row["method"]: row for row in rows if row[axis] == value}
            row_cells = cells([found.get(method) for method in methods], metric)
            if gains:
                row_cells.append(f"<td>{_relative_gain(found)}</td>")
            body.append((f"{metric_name(metric)}, {axis_value(axis, value)}", row_cells))
        bodies.append(body)
    columns = [*map(method_name, methods), *(["relative gain"] if gains else [])]
    return table(_caption(records, "row", len(methods)), f"metric, {AXIS_NAMES[axis]}", columns, bodies)


def table_of_methods(records: Sequence[Record], comparable: bool = True) -> str:
    """Methods under each other, a column for each metric; of one split.

    Args:
        records: of one split.
        comparable: whether the best of each column is marked.
    """
    methods, metrics = methods_of(records), list(dict.fromkeys(record.metric for record in records))
    columns = []
    for metric in metrics:
        found = {row["method"]: row for row in summary(select(records, metric=metric), by=("method",))}
        columns.append(cells([found.get(method) for method in methods], metric, comparable))
    body = [(method_name(method), row) for method, row in zip(methods, zip(*columns))]
    compared = len(methods) if comparable else 1
    return table(_caption(records, "column", compared), "method", list(map(metric_name, metrics)), [body])


def table_of_differences(records: Sequence[Record]) -> str:
    """Every recorded difference with its interval: a row for what is compared, a column for each split."""
    splits = findings.splits_of(records)
    by_fraction = {record.metric for record in records if record.fraction is not None}
    rows: dict[str, dict[str, str]] = {}
    for metric in dict.fromkeys(r.metric for r in records if "_over_" in r.metric):
        for method in methods_of(select(records, metric=metric)):
            for one in findings.intervals(records, method, metric):
                measured, _, base = metric.partition("_over_")
                name = f"{metric_name(measured)}: {method_name(method)} over {method_name(base)}"
                name += ", mean over shares" if one.fraction is None and metric in by_fraction else ""
                for axis in ("fraction", "shots"):
                    if getattr(one, axis) is not None:
                        name += f", {axis_value(axis, getattr(one, axis))}"
                sure = ' class="best"' if one.verdict != "none" else ""
                rows.setdefault(name, {})[one.split] = f"<td{sure}>{one.text}</td>"
    if not rows:
        return ""
    body = [(name, [found.get(split, "<td>–</td>") for split in splits]) for name, found in rows.items()]
    caption = "Differences in points, with their 95% intervals; bold = the interval does not hold zero"
    return table(caption, "what is compared", splits, [body])


def cells(rows: Sequence[dict[str, Any] | None], metric: str, comparable: bool = True) -> list[str]:
    """`<td>`s of summary rows, in % but for plain numbers; the best of several is bold and starred."""
    means = [round(100 * row["mean"], 1) for row in rows if row]
    best = (min if metric in LOWER_IS_BETTER else max)(means) if means else None
    starred = comparable and len(means) > 1 and metric not in PLAIN_NUMBERS | NEITHER_IS_BETTER
    found = []
    for row in rows:
        if row is None:
            found.append("<td>–</td>")
        elif metric in PLAIN_NUMBERS:
            found.append(f"<td>{_plain(row['mean'])}</td>")
        else:
            number, *deviation = findings.spread(100 * row["mean"], 100 * row["deviation"], row["n"]).split(
                " "
            )
            text = number + (f" <small>{' '.join(deviation)}</small>" if deviation else "")
            wins = starred and round(100 * row["mean"], 1) == best
            star = '<td class="best"><span aria-label="best">★</span> '
            found.append(f"{star if wins else '<td>'}{text}</td>")
    return found


def _caption(records: Sequence[Record], line: str, compared: int) -> str:
    split = f"<b>{escape(records[0].split or 'all')}</b>"
    if all(record.metric in PLAIN_NUMBERS for record in records):
        return split
    seeds = max(row["n"] for row in summary(records, by=("method", "metric", *AXIS_NAMES)))
    over = f"mean ± standard deviation over {seeds} seeds" if seeds > 1 else "one seed"
    best = f"; ★ and bold = best of its {line}" if compared > 1 else ""
    return f"{split}: in %, {over}{best}"


def _plain(value: float) -> str:
    return (f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}").replace("-", "−")


def _relative_gain(found: dict[str, dict[str, Any]]) -> str:
    if "visual_only" not in found or "multimodal" not in found or not found["visual_only"]["mean"]:
        return "–"
    return f"{findings.signed(100 * (found['multimodal']['mean'] / found['visual_only']['mean'] - 1))}%"
