"""One line for each suite, written from its numbers."""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ctxvision.metrics.records import Record, select, summary
from ctxvision.report.findings import (
    UNITS,
    Difference,
    compared,
    differences,
    intervals,
    opening,
    percent,
    splits_of,
)


class Finding(NamedTuple):
    """A suite's line and its verdict.

    `verdict` is "adds", "costs" or "none" where all splits agree, "partly" where some gain and none loses, "mixed"
    otherwise; "holds", "fails" or "none" of explanations; "told" where nothing is compared.
    """

    verdict: str
    text: str


class Claim(NamedTuple):
    """What a suite compares: the difference `metric` of `method`, what the sentence calls its cause, and whether
    the suite's verdict hangs on it."""

    subject: str
    method: str
    metric: str
    decides: bool = True


CLAIMS = {
    "table1": [Claim("context", "multimodal", "top1_over_visual_only")],
    "table2": [
        Claim(
            "a larger vocabulary beside the picture",
            "multimodal_concat",
            "top1_over_multimodal_concat_small",
        ),
        Claim("a larger vocabulary alone", "text_only", "top1_over_text_only_small"),
    ],
    "bottleneck": [
        Claim(
            "text beside picture and 64-d bottleneck",
            "visual_text_bottleneck",
            "top1_over_visual_bottleneck",
        )
    ],
    "fusion": [
        Claim("a pool instead of concatenation", "pool", "top1_over_concat"),
        Claim("MLB instead of concatenation", "mlb", "top1_over_concat"),
        Claim("MUTAN instead of concatenation", "mutan", "top1_over_concat"),
    ],
    "multi-label": [Claim("context", "multimodal", "map_over_visual_only")],
    "few-shot": [Claim("context", "multimodal_pool", "top1_over_linear_probe")],
    "text-encoder": [
        Claim("reading characters as well", "character_ngrams", "recall@10_over_attention"),
        Claim("training in all languages", "language_agnostic", "recall@10_over_attention"),
    ],
    "knowledge": [
        Claim("context without label words", "multimodal_no_label_words", "top1_over_visual_only"),
        Claim("context of the true queries (upper bound)", "oracle", "top1_over_visual_only", decides=False),
    ],
}


def finding_of(suite: str, records: Sequence[Record]) -> Finding | None:
    """The line of a suite; None where its records say nothing that is known how to tell.

    Args:
        suite: its name.
        records: those of the suite.
    """
    if suite == "table1" and differences(records, "multimodal"):
        found = differences(records, "multimodal")
        return Finding(
            _verdict([one for one in found if one.fraction == found[0].fraction]), opening(records)[0]
        )
    told, decisive = [], []
    for claim in CLAIMS.get(suite, ()):
        found = _first_setting(intervals(records, claim.method, claim.metric))
        if found:
            unit = UNITS.get(claim.metric.partition("_over_")[0], "points")
            told.append(f"{compared(claim.subject, found, unit)}{_setting(found[0])}.")
            decisive += found if claim.decides else []
    more = MORE[suite](records) if suite in MORE else ""
    if decisive:
        return Finding(_verdict(decisive), " ".join([*told, more]).strip())
    if suite == "deletion":
        return _deletion(records)
    return Finding("told", more) if more else None


def _first_setting(found: Sequence[Difference]) -> list[Difference]:
    """Those without a fraction (averaged over all), else at the smallest one, and the fewest shots."""
    for key in ("fraction", "shots"):
        values = [getattr(one, key) for one in found]
        first = None if None in values else min(values, default=None)
        found = [one for one in found if getattr(one, key) == first]
    return list(found)


def _setting(one: Difference) -> str:
    shots = "" if one.shots is None else f", with {one.shots} shot{'s' * (one.shots > 1)} a label"
    return shots or ("" if one.fraction is None else f", at {percent(one.fraction)} of the labels")


def _verdict(found: Sequence[Difference]) -> str:
    verdicts = {one.verdict for one in found}
    if len(verdicts) == 1:
        return verdicts.pop()
    return "mixed" if "costs" in verdicts else "partly"


def _deletion(records: Sequence[Record]) -> Finding | None:
    """Judged on the heads that did not rank the phrases: on the one that did, it holds by construction."""
    found = intervals(records, "first_on_other_head", "probability_fall_over_random")
    if not found:
        return None
    parts = []
    for one in found:
        chance = select(records, method="first_on_other_head", split=one.split, metric="p_value")
        p_value = f" (p {_p_value(chance[0].value)})" if chance else ""
        parts.append(f"{one.text} on {one.split}{p_value}")
    verdict = {"adds": "holds", "costs": "fails"}.get(_verdict(found), _verdict(found))
    start = {"holds": "Explanations hold", "fails": "Explanations do not hold"}.get(
        verdict, "Explanations are not shown to hold everywhere"
    )
    return Finding(
        verdict,
        f"{start}: points of probability that the answer loses without the phrase ranked first, more than without "
        f"another one: {' and '.join(parts)}; measured on heads that did not rank the phrases.",
    )


def _p_value(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.2g}"


def _means(records: Sequence[Record], metric: str) -> dict[tuple[str, str], float]:
    """(split, method) to the mean of a metric over its seeds."""
    rows = summary(select(records, metric=metric), by=("split", "method"))
    return {(row["split"], row["method"]): row["mean"] for row in rows}


def _table2(records: Sequence[Record]) -> str:
    curve = select(records, method="text_only_curve", metric="top1")
    sizes = sorted({one.vocabulary or 0 for one in curve})
    if len(sizes) < 2:
        return ""
    least, most = (_means(select(curve, vocabulary=size), "top1") for size in (sizes[0], sizes[-1]))
    listed = " and ".join(
        f"from {percent(round(least[key], 3))} to {percent(round(most[key], 3))} on {key[0]}" for key in least
    )
    return (
        f"As the vocabulary grows from the {sizes[0]:,} most searched phrases to all {sizes[-1]:,}, the phrases alone go "
        f"{listed} in top-1."
    )


def _multi_label(records: Sequence[Record]) -> str:
    told = []
    found = _means(records, "gain_count_spearman")
    if found:
        listed = " and ".join(f"{value:+.2f} on {split}" for (split, _), value in found.items())
        told.append(
            f"With long-tailed counts, the rank correlation of a label's gain with its count is "
            f"{listed.replace('-', '−')} (below 0: rare labels gain more)."
        )
    rule = [_means(records, name) for name in ("trainable_labels", "trainable_positives")]
    if all(rule):
        number, least = (next(iter(values.values())) for values in rule)
        told.append(f"mAP is over {number:.0f} labels with at least {least:.0f} pictures in train.")
    return " ".join(told)


def _zero_shot(records: Sequence[Record]) -> str:
    found = {
        split: value
        for (split, method), value in _means(records, "share_of_supervised").items()
        if method == "zero_shot"
    }
    listed = " and ".join(
        f"{percent(round(found[split], 3))} on {split}" for split in splits_of(records) if split in found
    )
    return f"Without a labelled picture, {listed} of the supervised top-1 are reached." if listed else ""


def _open_vocabulary(records: Sequence[Record]) -> str:
    own = select(records, method="phrase_generator")
    depths = [int(r.metric[4:]) for r in own if re.fullmatch(r"hit@\d+", r.metric)]
    if not depths:
        return ""
    first, deepest = (_means(own, f"hit@{depth}") for depth in (1, max(depths)))
    told = [
        f"{percent(round(value, 3))} of {split}, one of the first {max(depths)} for {percent(round(deepest[split, method], 3))}"
        for (split, method), value in first.items()
    ]
    return f"The first phrase is a query of the picture, or of its label where it has none, for {'; '.join(told)}."


def _text_encoder(records: Sequence[Record]) -> str:
    found = [
        (method, value)
        for (_, method), value in _means(select(records, split="held_out"), "recall@10").items()
    ]
    found.sort(key=lambda one: -one[1])
    listed = ", ".join(f"{method.replace('_', ' ')} {percent(round(value, 3))}" for method, value in found)
    return f"The associated query is among the first 10 for: {listed}." if found else ""


def _calibration(records: Sequence[Record]) -> str:
    found, reached = _means(records, "ece"), _means(records, "precision_at_threshold")
    chance = _means(records, "ece_by_chance")
    by_chance = {
        split: f" (by chance {value:.3f})"
        for (split, method), value in chance.items()
        if method == "calibrated"
    }
    told = [
        f"from {found[split, 'uncalibrated']:.3f} to {found[split, 'calibrated']:.3f} on "
        f"{_where(split)}{by_chance.get(split, '')}"
        for split in splits_of(records)
        if (split, "uncalibrated") in found and (split, "calibrated") in found
    ]
    if told:
        return f"Calibration takes the expected calibration error {' and '.join(told)}."
    listed = " and ".join(
        f"{percent(round(value, 3))} on {_where(split)}" for (split, _), value in reached.items()
    )
    return f"Thresholds for 80% precision reach {listed}." if listed else ""


def _where(split: str) -> str:
    return "all together" if split == "all" else split


MORE: dict[str, Callable[[Sequence[Record]], str]] = {
    "table2": _table2,
    "multi-label": _multi_label,
    "zero-shot": _zero_shot,
    "open-vocabulary": _open_vocabulary,
    "text-encoder": _text_encoder,
    "calibration": _calibration,
}
