"""The whole report: turns the files of a run into the values of the template `page.html.j2`."""

import math
from collections.abc import Sequence
from typing import Any

from ctxvision._templates import render
from ctxvision.metrics.records import Record, select
from ctxvision.report import findings
from ctxvision.report.charts import Figure
from ctxvision.report.suite_findings import Finding, finding_of
from ctxvision.report.suites import section, suites_of, title_of, unbroken
from ctxvision.report.svg import Series, line_chart
from ctxvision.report.tables import table_of_hits

SHOWN_PHRASES = 5
# Members of the run's head, in the order of their weights.
MEMBERS = ("picture", "phrases", "phrase generator", "label terms")
KINDS = {
    "win": ("Wins", "Multimodal is right where the picture alone is wrong."),
    "loss": ("Losses", "Multimodal is wrong where the picture alone is right."),
    "both_right": ("Both right", "Context changes nothing."),
    "both_wrong": ("Both wrong", "Context does not help."),
}
HOW_TO_READ = (
    "Differences are in points and compare models of the same seed. Brackets hold the 95% interval (bootstrap over test "
    "pictures and seeds); an interval that holds zero shows no clear difference. Without an interval, ± is the standard "
    f"deviation over seeds; a difference of at most {findings.SMALLEST_POINTS:g} point, or of at most "
    f"{findings.DEVIATIONS:g} deviations, is not clear."
)


def page(
    config: dict[str, Any],
    records: Sequence[Record],
    examples: Sequence[dict[str, Any]],
    history: dict[str, dict[str, list[float]]],
    check: dict[str, Any],
    left_out: dict[str, str],
    times: Sequence[dict[str, Any]],
    weights: Sequence[float],
) -> str:
    """Renders the report.

    Args:
        config: the run's settings, with "data" and "versions".
        records: all records of the run.
        examples: pictures with their answers, see `write_report`.
        history: training curves by stage.
        check: the result of stage `visual_only` on `val`, or empty.
        left_out: maps a suite to the reason why it was not measured.
        times: seconds of each part of the training.
        weights: weights of the members of the run's head, or empty.
    """
    suites = suites_of(records)
    found = {suite: finding_of(suite, select(records, suite=suite)) for suite in suites}
    lead = found.pop("table1", None) or found.pop("multi-label", None) or _no_lead(records)
    settings = {key: value for key, value in config.items() if key != "versions"}
    return render(
        "ctxvision.report",
        "page.html.j2",
        title=f"What context adds: {config['data']['name']}",
        lead=lead._replace(text=unbroken(lead.text)),
        paragraphs=_paragraphs(records, check, weights),
        overview=_overview(found, {suite: why for suite, why in left_out.items() if suite not in suites}),
        how_to_read=HOW_TO_READ,
        sections=[section(suite, select(records, suite=suite)) for suite in suites],
        phrase_hits=table_of_hits(select(records, suite="phrases")),
        gallery=_gallery(examples, select(records, suite="answers")),
        shown_phrases=SHOWN_PHRASES,
        times={str(one["part"]): f"{one['seconds']:,.0f} s" for one in times},
        curves=_curves(history),
        settings=_flat(settings),
        versions=_flat(config.get("versions", {})),
    )


def _no_lead(records: Sequence[Record]) -> Finding:
    if not records:
        return Finding("", "The data has no test pictures, so nothing was measured.")
    return Finding("", findings.opening(select(records, suite="table1"))[0])


def _paragraphs(records: Sequence[Record], check: dict[str, Any], weights: Sequence[float]) -> list[str]:
    """Returns the paragraphs below the lead: the check on `val`, the gain beyond the web pictures, the members' weights."""
    told = [str(check.get("sentence", "")), findings.beyond_web(select(records, suite="table1"))]
    if weights:
        parts = ", ".join(f"{name} {weight:.2f}" for name, weight in zip(MEMBERS, weights))
        idle = [name for name, weight in zip(MEMBERS, weights) if weight < 0.005]
        left_out = (
            f" {findings.in_words(idle).capitalize()} did not help on val and got no weight." if idle else ""
        )
        told.append(
            f"The answer is a weighted sum of separate heads. Weights, fitted on val: {parts}.{left_out}"
        )
    return [unbroken(text) for text in told if text]


def _overview(found: dict[str, Finding | None], left_out: dict[str, str]) -> list[dict[str, str]]:
    """Returns one line for each suite; a suite that was left out has no section and so no `id`."""
    lines = [
        {"id": suite, "title": title_of(suite), "verdict": one.verdict, "text": unbroken(one.text)}
        for suite, one in found.items()
        if one
    ]
    return lines + [
        {"id": "", "title": title_of(suite), "verdict": "left-out", "text": why}
        for suite, why in left_out.items()
    ]


def _gallery(examples: Sequence[dict[str, Any]], answers: Sequence[Record]) -> list[dict[str, Any]]:
    """Returns the pictures by kind. Wins and losses are always there; the other kinds are folded, and absent without pictures."""
    kinds = []
    for kind, (heading, meaning) in KINDS.items() if examples else ():
        cards = [_card(example) for example in examples if example["kind"] == kind]
        folded = kind not in ("win", "loss")
        if cards or not folded:
            shares = [f"{findings.percent(r.value)} of {r.split}" for r in select(answers, metric=kind)]
            title = f"{heading}: {', '.join([*shares, f'{len(cards)} shown'])}"
            kinds.append({"title": title, "meaning": meaning, "cards": cards, "folded": folded})
    return kinds


def _card(example: dict[str, Any]) -> dict[str, Any]:
    """Returns the card of one picture, with the phrases that moved the answer most."""
    parts = {
        "picture": example["visual_share"],
        "phrase generator": example["query_share"],
        "phrases": sum(phrase["share"] for phrase in example["phrases"]),
    }
    most = max(parts, key=lambda name: abs(parts[name]))
    return {
        **{key: example[key] for key in ("image", "truth", "split")},
        "parts": [
            {"text": f"{name} {findings.signed(100 * share)}", "most": name == most}
            for name, share in parts.items()
        ],
        "phrases": [
            {
                "name": phrase["phrase"],
                "width": f"{100 * min(max(phrase['score'], 0), 1):.0f}",
                "score": f"{phrase['score']:.2f}".replace("-", "−"),
                "share": findings.signed(100 * phrase["share"]),
            }
            for phrase in example["phrases"][:SHOWN_PHRASES]
        ],
        "answers": [
            {
                "name": name,
                "label": example[key]["label"],
                "right": example[key]["label"] == example["truth"],
                "score": f"{100 * example[key]['score']:.0f}%",
            }
            for key, name in (("visual_only", "visual only"), ("multimodal", "multimodal"))
        ],
    }


def _curves(history: dict[str, dict[str, list[float]]]) -> list[Figure]:
    found = [
        _curve(stage, base, curves)
        for stage, curves in history.items()
        for base in dict.fromkeys(name.removeprefix("val_") for name in curves)
    ]
    return [one for one in found if one]


def _curve(stage: str, base: str, curves: dict[str, list[float]]) -> Figure | None:
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
        return None
    last = max(x for one in series for x, _ in one.points)
    ticks = [(1.0, "1"), (last, f"{last:g}")] if last > 1 else [(1.0, "1")]
    chart = line_chart(series, f"{base} of stage {stage} by epoch", ticks, width=260, height=150, marks=False)
    return Figure(chart, stage, base)


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flattens nested settings and joins keys with dots."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat.update(_flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return flat
