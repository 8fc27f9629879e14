"""The sections of the report, each a function from numbers to HTML; all text that came in is escaped."""

import math
import re
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from ctxvision.metrics.records import Record, select, summary
from ctxvision.report import findings
from ctxvision.report.suite_findings import Finding, finding_of
from ctxvision.report.suites import section, suites_of, title_of, unbroken
from ctxvision.report.svg import Series, line_chart
from ctxvision.report.tables import boxed

SHOWN_PHRASES = 5
# Of the run's head, in the order of its weights.
MEMBERS = ("picture", "phrases", "phrase generator", "label terms")
KINDS = {
    "win": ("Wins", "Multimodal is right where the picture alone is wrong."),
    "loss": ("Losses", "Multimodal is wrong where the picture alone is right."),
    "both_right": ("Both right", "Context changes nothing."),
    "both_wrong": ("Both wrong", "Context does not help."),
}


# A suite's verdict: what the overview shows before its line.
VERDICTS = {
    "adds": "▲ gain",
    "costs": "▼ loss",
    "partly": "▲ gain in part",
    "none": "= not shown",
    "mixed": "◆ mixed",
    "holds": "✓ holds",
    "fails": "✗ fails",
    "told": "measured",
}


def page(
    config: dict[str, Any],
    records: Sequence[Record],
    examples: Sequence[dict[str, Any]],
    history: dict[str, dict[str, list[float]]],
    check: dict[str, Any] | None = None,
    left_out: dict[str, str] | None = None,
    times: Sequence[dict[str, Any]] = (),
    weights: Sequence[float] = (),
) -> str:
    """The whole page.

    Args:
        config: the run's settings, with "data" and "versions".
        records: all records of the run.
        examples: pictures with their answers, see `write_report`.
        history: training curves by stage.
        check: what the stage `visual_only` found on `val`, where it is known.
        left_out: suite to why it was not measured.
        times: what was trained, and how long it took.
        weights: how much each member of the run's head counts, where it is known.
    """
    title = f"What context adds: {config['data']['name']}"
    suites = suites_of(records)
    body = [
        f"<h1>{escape(title)}</h1>",
        _overview(records, suites, check or {}, left_out or {}, weights),
        *(section(suite, select(records, suite=suite)) for suite in suites),
        _phrase_hits(select(records, suite="phrases")),
        _gallery(examples, select(records, suite="answers")),
        _times(times),
        _curves(history),
        _settings(config),
    ]
    template = files("ctxvision.report").joinpath("report.html.tmpl").read_text(encoding="utf-8")
    return Template(template).substitute(title=escape(title), body="\n".join(part for part in body if part))


def _overview(
    records: Sequence[Record],
    suites: Sequence[str],
    check: dict[str, Any],
    left_out: dict[str, str],
    weights: Sequence[float],
) -> str:
    """One line for each suite, that of Table 1 or of several labels large; what training found on `val`; how much each
    part counts; what was left out; how to read it all.
    """
    found = {suite: finding_of(suite, select(records, suite=suite)) for suite in suites}
    lead = found.pop("table1", None) or found.pop("multi-label", None)
    first = lead.text if lead else findings.opening(select(records, suite="table1"))[0]
    first = first if records else "The data has no test pictures, so nothing was measured."
    items = "".join(
        f'<li>{_verdict(one)}<div><a href="#{escape(suite)}">{escape(title_of(suite))}</a> '
        f"{escape(unbroken(one.text))}</div></li>"
        for suite, one in found.items()
        if one
    )
    items += "".join(
        f'<li><span class="verdict is-told">– left out</span><div><b>{escape(title_of(suite))}</b> {escape(why)}</div></li>'
        for suite, why in left_out.items()
        if suite not in suites
    )
    sentence = f"<p>{_with_commands(str(check['sentence']))}</p>" if "sentence" in check else ""
    beyond = findings.beyond_web(select(records, suite="table1"))
    sentence += f"<p>{escape(unbroken(beyond))}</p>" if beyond else ""
    sentence += f"<p>{_counted(weights)}</p>" if weights else ""
    return (
        f'<p class="lead">{_verdict(lead) if lead else ""} {escape(unbroken(first))}</p>{sentence}'
        + (f'<ul class="findings">{items}</ul>' if items else "")
        + '<p class="note">Differences are points between a model and another of the same seed. In brackets: their '
        "95% interval, by bootstrap over test pictures and seeds; where it holds zero, no difference is shown. After "
        "±: their standard deviation over seeds, where there is no interval; then one of at most "
        f"{findings.SMALLEST_POINTS:g} point, or of at most {findings.DEVIATIONS:g} deviations, counts as not shown.</p>"
    )


def _counted(weights: Sequence[float]) -> str:
    """How much each member counts, such as "picture 0.30, phrases 0.50, ..."."""
    listed = ", ".join(f"{name} {weight:.2f}" for name, weight in zip(MEMBERS, weights))
    idle = [name for name, weight in zip(MEMBERS, weights) if weight < 0.005]
    left_out = f" On val, {' and '.join(idle)} did not help, and do not count." if idle else ""
    return f"The answer is a weighted sum of separate heads, with weights fitted on val: {listed}.{left_out}"


def _with_commands(text: str) -> str:
    """Escaped; what stands between backticks is code."""
    return re.sub("`(.+?)`", r"<code>\1</code>", escape(unbroken(text)))


def _verdict(finding: Finding) -> str:
    return f'<span class="verdict is-{finding.verdict}">{VERDICTS[finding.verdict]}</span>'


def _phrase_hits(records: Sequence[Record]) -> str:
    if not records:
        return ""
    metrics = sorted({record.metric for record in records})
    head = "".join(f'<th scope="col">{escape(metric)}</th>' for metric in metrics)
    rows = []
    for split in findings.splits_of(records):
        found = {row["metric"]: row for row in summary(select(records, split=split), by=("metric",))}
        cells = "".join(
            f"<td>{_share(found[metric])}</td>" if metric in found else "<td>–</td>" for metric in metrics
        )
        rows.append(f'<tr><th scope="row">{escape(split)}</th>{cells}</tr>')
    return "<h2>Phrases found</h2>" + boxed(
        "hit@k: pictures, in %, one of whose first k phrases is a query of the pictured thing",
        f'<thead><tr><th scope="col">split</th>{head}</tr></thead><tbody>{"".join(rows)}</tbody>',
    )


def _share(row: dict[str, Any]) -> str:
    return findings.spread(100 * row["mean"], 100 * row["deviation"], row["n"])


def _gallery(examples: Sequence[dict[str, Any]], answers: Sequence[Record]) -> str:
    if not examples:
        return ""
    note = (
        '<p class="note">The first line of a card says how the multimodal answer\'s probability came about: points that the '
        "picture, what the phrase generator sees, and all phrases add to it; what adds most is bold. <b>score</b>: cosine of the phrase's prototype "
        "and the picture, less for phrases of few pictures. <b>share</b>: the phrase's own points (its Shapley value); below "
        "zero, it spoke against the answer. Phrases that say nearly the same are one row. The five largest rows are shown.</p>"
    )
    parts = [f"<h2>Pictures, their phrases, and the two answers</h2>{note}"]
    for kind, (heading, meaning) in KINDS.items():
        shown = [example for example in examples if example["kind"] == kind]
        cards = "".join(_card(example) for example in shown)
        body = f'<p class="note">{meaning}</p>' + (f'<ul class="gallery">{cards}</ul>' if cards else "")
        counted = [
            f"{findings.percent(r.value)} of {escape(str(r.split))}" for r in select(answers, metric=kind)
        ]
        title = f"{heading}: {', '.join([*counted, f'{len(shown)} shown'])}"
        if kind in ("win", "loss"):
            parts.append(f"<h3>{title}</h3>{body}")
        elif shown:
            parts.append(f"<details><summary>{title}</summary>{body}</details>")
    return "".join(parts)


def _card(example: dict[str, Any]) -> str:
    """One picture, with the phrases that moved the answer most."""
    summed = sum(phrase["share"] for phrase in example["phrases"])
    parts = {
        "picture": example["visual_share"],
        "phrase generator": example["query_share"],
        "phrases": summed,
    }
    most = max(parts, key=lambda name: abs(parts[name]))
    said = {name: f"{name} {findings.signed(100 * share)}" for name, share in parts.items()}
    decided = " · ".join(f"<b>{text}</b>" if name == most else text for name, text in said.items())
    rows = "".join(
        f'<tr><th scope="row">{escape(phrase["phrase"])}</th><td class="score"><span class="bar" aria-hidden="true">'
        f'<i style="width:{100 * min(max(phrase["score"], 0), 1):.0f}%"></i></span>{phrase["score"]:.2f}</td>'
        f"<td>{findings.spread(100 * phrase['share'], 0.0, 1, sign=True)}</td></tr>"
        for phrase in example["phrases"][:SHOWN_PHRASES]
    )
    truth = escape(example["truth"])
    answers = "".join(
        _answer(name, example[key], example["truth"])
        for key, name in (("visual_only", "visual only"), ("multimodal", "multimodal"))
    )
    return (
        f'<li><img src="{escape(example["image"])}" alt="Picture of {truth}" width="96" height="96">'
        f'<p class="truth"><span class="note">truth</span><b>{truth}</b>'
        f'<span class="note">{escape(example["split"])}</span></p><p class="decided">{decided}</p><table><thead><tr><th scope="col">phrase</th>'
        f'<th scope="col">score</th><th scope="col">share</th></tr></thead><tbody>{rows}</tbody></table>'
        f'<dl class="answers">{answers}</dl></li>'
    )


def _answer(name: str, answer: dict[str, Any], truth: str) -> str:
    right = answer["label"] == truth
    mark, word = ("✓", "right") if right else ("✗", "wrong")
    return (
        f'<div class="is-{word}"><dt>{name}</dt><dd>{escape(answer["label"])}</dd>'
        f'<dd><span class="mark-{word}">{mark} {word}</span>, {100 * answer["score"]:.0f}%</dd></div>'
    )


def _times(times: Sequence[dict[str, Any]]) -> str:
    if not times:
        return ""
    rows = {str(one["part"]): f"{one['seconds']:,.0f} s" for one in times}
    note = '<p class="note">Training and measuring, without exports. A context is made once, for any number of runs.</p>'
    return f"<h2>Time</h2>{note}{_pairs('Seconds', rows)}"


def _curves(history: dict[str, dict[str, list[float]]]) -> str:
    figures = [
        _curve(stage, base, curves)
        for stage, curves in history.items()
        for base in dict.fromkeys(name.removeprefix("val_") for name in curves)
    ]
    if not any(figures):
        return ""
    return (
        '<h2>Training curves</h2><p class="note">Across: epochs. Dashed: on the held-out part.</p>'
        f'<div class="curves">{"".join(figures)}</div>'
    )


def _curve(stage: str, base: str, curves: dict[str, list[float]]) -> str:
    series = []
    for style, (name, label) in enumerate(((base, "train"), (f"val_{base}", "val"))):
        points = [
            (float(epoch), float(value))
            for epoch, value in enumerate(curves.get(name, ()), start=1)
            if value is not None and math.isfinite(value)
        ]
        if points:
            series.append(Series(label, points, style))
    if not series:
        return ""
    last = max(x for one in series for x, _ in one.points)
    ticks = [(1.0, "1"), (last, f"{last:g}")] if last > 1 else [(1.0, "1")]
    chart = line_chart(series, f"{base} of stage {stage} by epoch", ticks, width=260, height=150, marks=False)
    return f"<figure>{chart}<figcaption><b>{escape(stage)}</b>: {escape(base)}</figcaption></figure>"


def _settings(config: dict[str, Any]) -> str:
    settings = {key: value for key, value in config.items() if key != "versions"}
    tables = [_pairs("Settings", _flat(settings)), _pairs("Versions", _flat(config.get("versions", {})))]
    return f"<h2>Settings and versions</h2><details><summary>Show them</summary>{''.join(tables)}</details>"


def _pairs(caption: str, pairs: dict[str, Any]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(key)}</th><td class="text">{escape(str(value))}</td></tr>'
        for key, value in pairs.items()
    )
    return boxed(f"<b>{caption}</b>", f"<tbody>{rows}</tbody>")


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings in one level, keys joined with dots."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat.update(_flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return flat
