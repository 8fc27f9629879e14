"""Makes the report's section of a suite: finding, tables, charts, and differences with intervals."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from ctxvision.metrics.records import Record, select, summary
from ctxvision.report import findings
from ctxvision.report.charts import FAMILIES, Figure, chart_along, chart_of_family, reliability_chart
from ctxvision.report.suite_findings import finding_of
from ctxvision.report.tables import (
    Row,
    Table,
    cells,
    method_name,
    methods_of,
    metric_name,
    table_along,
    table_of_differences,
    table_of_methods,
)


class About(NamedTuple):
    """The explanation of a suite: the title of its section, a note, and the meaning of terms."""

    title: str
    note: str = ""
    terms: dict[str, str] = {}


class Section(NamedTuple):
    """A section of the report; `folded` maps titles to tables."""

    id: str
    title: str
    lines: list[str]
    note: str
    terms: dict[str, str]
    tables: list[Table]
    charts: list[Figure]
    folded: dict[str, list[Table]]


# In the order in which the suites run.
ABOUT = {
    "table1": About(
        "Accuracy (Table 1)",
        "A percentage such as 10% is the share of the labelled pictures that pre-trained the visual encoder.",
        {
            "multimodal": "a pool of separate heads for the picture, the predicted phrases, the phrase generator, and "
            "the labels' own terms.",
            "without label terms": "multimodal without the labels' own terms.",
            "concatenation": "one joint head over picture and phrases, the method's own.",
            "web features": "the phrase generator's ConvNet under a label head, without words; fine-tuned where suite "
            "table1 finds that better on val.",
            "no label words": "without label terms and without phrases that hold a word of a label.",
            "shuffled phrases": "multimodal with the phrases of another picture.",
            "relative gain": "multimodal over visual only.",
        },
    ),
    "table2": About(
        "Size of the vocabulary (Table 2)",
        terms={
            "small": "finds only phrases that were softmax classes of the phrase generator. The other methods find every "
            "phrase with a prototype."
        },
    ),
    "bottleneck": About(
        "Words beside the 64-d bottleneck", terms={"64-d": "the query embedding itself as context."}
    ),
    "fusion": About("Ways to combine picture and phrases"),
    "multi-label": About("Several labels a picture"),
    "calibration": About(
        "Calibration",
        "Calibrated probabilities come from the members' logits times their weights, which are fitted on val. With "
        "one label a picture, the uniform share is spread over all labels. On the diagonal of the chart, answers with "
        "70% confidence are right for 70% of the pictures.",
    ),
    "few-shot": About(
        "Few labelled pictures",
        terms={"shots": "labelled pictures of each label; a label with fewer gives all of its pictures."},
    ),
    "deletion": About(
        "Do explanations hold?",
        "The probability of the first label falls when phrases are removed: by largest share, or at random.",
        {
            "other head": "the harder test. The run's classifier ranks the phrases, and heads of other seeds measure "
            "the fall."
        },
    ),
    "knowledge": About(
        "What phrases add beyond label names",
        terms={
            "no label words": "multimodal without phrases that hold a word of a label.",
            "label words only": "multimodal with only the phrases that hold such a word.",
            "oracle": "multimodal with the picture's true queries, the upper bound.",
        },
    ),
    "zero-shot": About("No labelled pictures"),
    "open-vocabulary": About("Phrases as answers"),
    "text-encoder": About("The text encoder"),
}
NOT_COMPARABLE = {"deletion", "open-vocabulary"}
OWN_SECTION = {"phrases", "answers"}
PREFERRED = ("top1", "map")


def suites_of(records: Sequence[Record]) -> list[str]:
    """Returns the suites that have a section: known ones in the order of `ABOUT`, then others as they appear."""
    there = dict.fromkeys(record.suite for record in records)
    known = [name for name in ABOUT if name in there]
    return known + [name for name in there if name not in ABOUT and name not in OWN_SECTION]


def title_of(suite: str) -> str:
    """Returns the title of a suite's section."""
    return ABOUT[suite].title if suite in ABOUT else suite


def section(suite: str, records: Sequence[Record]) -> Section:
    """Makes the section of a suite.

    Args:
        suite: its name.
        records: the suite's records.
    """
    found, about = finding_of(suite, records), ABOUT.get(suite, About(suite))
    lines = findings.opening(records) if suite == "table1" else [found.text] if found else []
    charts: list[Figure | None] = []
    tables: list[Table] = []
    folded: list[Table] = []
    for split in [*findings.splits_of(records), None]:
        here = select(records, split=split)
        plain = [record for record in here if _is_plain(record)]
        for axis, group in _by_axis(suite, plain):
            if axis is None:
                tables.append(table_of_methods(group, suite not in NOT_COMPARABLE))
            else:
                # A single line reads better as a chart than as a table.
                lone = suite != "table1" and len(methods_of(group)) == 1
                (folded if lone else tables).append(table_along(group, axis))
                metrics = [m for m in PREFERRED if select(group, metric=m)] or [group[0].metric]
                charts.append(chart_along(group, metrics[0], axis))
        parted = _in_one_setting(here)
        charts += [chart_of_family(parted, one) for one in FAMILIES if any(_family(r) == one for r in parted)]
        charts.append(reliability_chart(here) if split else None)
    more = {
        "The charts' values": folded,
        "Differences with their intervals": table_of_differences(records),
        "In parts": _in_parts(records),
    }
    return Section(
        suite,
        about.title,
        [unbroken(line) for line in lines],
        about.note,
        about.terms,
        tables,
        [chart for chart in charts if chart],
        {title: shown for title, shown in more.items() if shown},
    )


def unbroken(text: str) -> str:
    """Keeps a number and its spread on one line."""
    return re.sub(r" (±|to|→) (?=[+−\d])", "\u00a0\\1\u00a0", text)


def _is_plain(record: Record) -> bool:
    metric = record.metric
    return not ("/" in metric or "_over_" in metric or metric == "p_value" or re.match(r"bin\d+_", metric))


def _family(record: Record) -> str:
    """Returns the name before the slash: "precision_at_recall" of "precision_at_recall/0.05"; "" for a metric without parts."""
    return record.metric.rpartition("/")[0] and record.metric.partition("/")[0]


def _in_one_setting(records: Sequence[Record]) -> list[Record]:
    """Selects the metrics with parts, at the smallest fraction."""
    found = [record for record in records if _family(record)]
    fractions = findings.fractions_of(found)
    return select(found, fraction=fractions[0]) if fractions else found


def _by_axis(suite: str, records: Sequence[Record]) -> list[tuple[str | None, list[Record]]]:
    """Groups the methods that vary along the same axis; None groups the methods that vary along no axis."""
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


def _in_parts(records: Sequence[Record]) -> list[Table]:
    """Makes a table for each split and metric named `METRIC/PART`, with a row for each part, such as a label."""
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
                body.append(Row(part, cells([rows.get(method) for method in methods], metric)))
            share = f", with {findings.percent(own[0].fraction)} of the labels" if own[0].fraction else ""
            head = ["of", *map(method_name, methods)]
            tables.append(Table(split, f"{metric_name(family)} in %{share}", head, [body]))
    return tables
