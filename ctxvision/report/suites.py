"""The report's section of a suite: its line, its tables, its charts, and its differences with intervals."""

import re
from collections.abc import Sequence
from html import escape

from ctxvision.metrics.records import Record, select, summary
from ctxvision.report import findings
from ctxvision.report.charts import FAMILIES, chart_along, chart_of_family, reliability_chart
from ctxvision.report.suite_findings import finding_of
from ctxvision.report.tables import (
    cells,
    method_name,
    methods_of,
    metric_name,
    table,
    table_along,
    table_of_differences,
    table_of_methods,
)

# Of the sections: as the suites run.
ORDER = (
    "table1",
    "table2",
    "bottleneck",
    "fusion",
    "multi-label",
    "calibration",
    "few-shot",
    "deletion",
    "knowledge",
    "zero-shot",
    "open-vocabulary",
    "text-encoder",
)
# Title, and what a reader must know of its rows.
ABOUT = {
    "table1": (
        "Accuracy (Table 1)",
        "<b>multimodal</b>: a pool of what the ConvNet sees, the predicted phrases, what the phrase generator sees, and "
        "the labels' own terms; each is a head of its own. <b>without label terms</b>: the same without these. "
        "<b>concatenation</b>: one joint head over picture and phrases, the method's own. <b>web features</b>: the phrase "
        "generator's ConvNet under a label head, without words. The suite table1 fine-tunes it as well, and takes what is "
        "better on val. <b>no label words</b>: without "
        "label terms, queries that hold a word of the label left out. <b>shuffled phrases</b>: multimodal, phrases of "
        "another picture. <b>relative gain</b>: multimodal over visual only. A percentage such as 10% is the share of the "
        "labelled pictures that the visual encoder was pre-trained on.",
    ),
    "table2": (
        "Size of the vocabulary (Table 2)",
        "<b>small</b>: only phrases that were softmax classes of the phrase generator can be found; the others: "
        "every phrase with a prototype.",
    ),
    "bottleneck": ("Words beside the 64-d bottleneck", "<b>64-d</b>: the query embedding itself as context."),
    "fusion": ("How picture and phrases meet", ""),
    "multi-label": ("Several labels a picture", ""),
    "few-shot": (
        "Few labelled pictures",
        "<b>shots</b>: labelled pictures of each label; one that has fewer gives all.",
    ),
    "zero-shot": ("No labelled pictures", ""),
    "open-vocabulary": ("The phrases themselves", ""),
    "text-encoder": ("The text encoder", ""),
    "calibration": (
        "Calibration",
        "Calibrated probabilities are those of the members' logits times their <b>weights</b>, fitted on val; of one label "
        "a picture all labels get the <b>uniform share</b> alike. On the diagonal, what is said with 70% confidence is right in 70% of the pictures.",
    ),
    "deletion": (
        "Do explanations hold?",
        "The probability of the first label falls when phrases are removed: those with the largest share first, or "
        "others at random. <b>other head</b> is the harder test: ranked by the run's classifier, measured on heads of "
        "other seeds.",
    ),
    "knowledge": (
        "What phrases know beyond label names",
        "<b>no label words</b>, <b>label words only</b>: multimodal with phrases of which none, or each, holds a "
        "word of a label. <b>oracle</b>: multimodal with the picture's true queries, the upper bound.",
    ),
}
NOT_COMPARABLE = {"deletion", "open-vocabulary"}
OWN_SECTION = {"phrases", "answers"}
PREFERRED = ("top1", "map")


def suites_of(records: Sequence[Record]) -> list[str]:
    """The suites that have a section here: in the order of `ORDER`, then others as they appear."""
    there = dict.fromkeys(record.suite for record in records)
    known = [name for name in ORDER if name in there]
    return known + [name for name in there if name not in ORDER and name not in OWN_SECTION]


def title_of(suite: str) -> str:
    """What its section is called."""
    return ABOUT.get(suite, (suite, ""))[0]


def section(suite: str, records: Sequence[Record]) -> str:
    """The whole section, of the suite's own records."""
    found, note = finding_of(suite, records), ABOUT.get(suite, ("", ""))[1]
    lines = findings.opening(records) if suite == "table1" else [found.text] if found else []
    parts = [f'<h2 id="{escape(suite)}">{escape(title_of(suite))}</h2>']
    parts += [f"<p>{escape(unbroken(' '.join(lines)))}</p>"] if lines else []
    parts += [f'<p class="note">{note}</p>'] if note else []
    charts: list[str] = []
    tables: list[str] = []
    folded: list[str] = []
    for split in [*findings.splits_of(records), None]:
        here = select(records, split=split)
        plain = [record for record in here if _is_plain(record)]
        for axis, group in _by_axis(suite, plain):
            if axis is None:
                tables.append(table_of_methods(group, suite not in NOT_COMPARABLE))
            else:
                # A single line is a chart rather than a table.
                lone = suite != "table1" and len(methods_of(group)) == 1
                (folded if lone else tables).append(table_along(group, axis))
                metrics = [m for m in PREFERRED if select(group, metric=m)] or [group[0].metric]
                charts.append(chart_along(group, metrics[0], axis))
        parted = _in_one_setting(here)
        charts += [chart_of_family(parted, one) for one in FAMILIES if any(_family(r) == one for r in parted)]
        charts.append(reliability_chart(here) if split else "")
    parts.append(f'<div class="tables">{"".join(tables)}</div>')
    if any(charts):
        parts.append(f'<div class="charts">{"".join(charts)}</div>')
    parts += [_folded("The charts' values", "".join(folded))]
    parts += [_folded("Differences with their intervals", table_of_differences(records))]
    parts += [_folded("In parts", _in_parts(records))]
    return "".join(parts)


def unbroken(text: str) -> str:
    """A number keeps its spread on its line."""
    return (
        text.replace(" ± ", "\u00a0±\u00a0")
        .replace(" to +", "\u00a0to\u00a0+")
        .replace(" to −", "\u00a0to\u00a0−")
    )


def _is_plain(record: Record) -> bool:
    metric = record.metric
    return not ("/" in metric or "_over_" in metric or metric == "p_value" or re.match(r"bin\d+_", metric))


def _family(record: Record) -> str:
    """ "precision_at_recall" of "precision_at_recall/0.05"; "" for a metric that stands alone."""
    return record.metric.rpartition("/")[0] and record.metric.partition("/")[0]


def _in_one_setting(records: Sequence[Record]) -> list[Record]:
    """Metrics of several parts, at the smallest fraction."""
    found = [record for record in records if _family(record)]
    fractions = findings.fractions_of(found)
    return select(found, fraction=fractions[0]) if fractions else found


def _by_axis(suite: str, records: Sequence[Record]) -> list[tuple[str | None, list[Record]]]:
    """Records in groups of methods that vary along the same axis; None is for those that vary along none."""
    groups: dict[str | None, list[Record]] = {}
    for method in methods_of(records):
        own = select(records, method=method)
        varying = [
            axis
            for axis in ("shots", "vocabulary", "fraction")
            if len({getattr(r, axis) for r in own} - {None}) > 1
        ]
        axis = varying[0] if varying else "fraction" if suite == "table1" else None
        groups.setdefault(axis, []).extend(own)
    return list(groups.items())


def _in_parts(records: Sequence[Record]) -> str:
    """Metrics named `METRIC/PART`, such as a label: a table for each metric and split, a row for each part."""
    tables = []
    for split in findings.splits_of(records):
        here = _in_one_setting(select(records, split=split))
        for family in dict.fromkeys(_family(record) for record in here):
            own = [record for record in here if _family(record) == family]
            if not family or family in FAMILIES:
                continue
            methods, body = methods_of(own), []
            for metric in dict.fromkeys(record.metric for record in own):
                rows = {row["method"]: row for row in summary(select(own, metric=metric), by=("method",))}
                part = metric.partition("/")[2].replace("_", " ")
                body.append((part, cells([rows.get(method) for method in methods], metric)))
            share = f", at {findings.percent(own[0].fraction)}" if own[0].fraction else ""
            caption = f"<b>{escape(split)}</b>: {escape(metric_name(family))} in %{share}"
            tables.append(table(caption, "of", list(map(method_name, methods)), [body]))
    return "".join(tables)


def _folded(title: str, body: str) -> str:
    return f"<details><summary>{title}</summary>{body}</details>" if body else ""
