"""The finding of each suite, written from its numbers."""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ctxvision.metrics.records import Record, select, summary
from ctxvision.report.findings import (
    Difference,
    at_share,
    compared,
    differences,
    in_words,
    intervals,
    opening,
    splits_of,
)
from ctxvision.report.tables import metric_name


class Finding(NamedTuple):
    """The sentences of a suite and its verdict.

    `verdict` is "adds", "costs" or "none" where all splits agree, "partly" where some splits gain and none loses,
    "mixed" otherwise; "holds", "fails" or "none" of explanations; "told" where the suite compares nothing.
    """

    verdict: str
    text: str


class Claim(NamedTuple):
    """A comparison of a suite.

    Attributes:
        subject: subject of the sentence.
        method, metric: method and metric of the recorded difference.
        decides: whether the suite's verdict depends on it.
    """

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
        Claim("a larger vocabulary without the picture", "text_only", "top1_over_text_only_small"),
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
    """Returns the finding of a suite, or None if its records hold no known comparison.

    Args:
        suite: its name.
        records: the suite's records.
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
            metric = metric_name(claim.metric.partition("_over_")[0])
            told.append(compared(claim.subject, found, metric, _setting(found[0])))
            decisive += found if claim.decides else []
    more = MORE[suite](records) if suite in MORE else ""
    if decisive:
        return Finding(_verdict(decisive), " ".join([*told, more]).strip())
    if suite == "deletion":
        return _deletion(records)
    return Finding("told", more) if more else None


def _first_setting(found: Sequence[Difference]) -> list[Difference]:
    """Selects the differences without a fraction (means over all fractions), else with the smallest; then with the fewest shots."""
    for key in ("fraction", "shots"):
        values = [getattr(one, key) for one in found]
        first = None if None in values else min(values, default=None)
        found = [one for one in found if getattr(one, key) == first]
    return list(found)


def _setting(one: Difference) -> str:
    if one.shots is None:
        return at_share(one.fraction)
    return f" with {one.shots} shot{'s' * (one.shots > 1)} a label"


def _verdict(found: Sequence[Difference]) -> str:
    verdicts = {one.verdict for one in found}
    if len(verdicts) == 1:
        return verdicts.pop()
    return "mixed" if "costs" in verdicts else "partly"


def _deletion(records: Sequence[Record]) -> Finding | None:
    """Judges explanations on other heads, because the head that ranked the phrases agrees with its own ranking by construction."""
    found = intervals(records, "first_on_other_head", "probability_fall_over_random")
    if not found:
        return None
    parts = []
    for one in found:
        chance = select(records, method="first_on_other_head", split=one.split, metric="p_value")
        parts.append(one.sentence + (f" (p {_p_value(chance[0].value)})" if chance else ""))
    verdict = {"adds": "holds", "costs": "fails"}.get(_verdict(found), _verdict(found))
    start = {"holds": "Explanations hold", "fails": "Explanations do not hold"}.get(
        verdict, "Explanations are not shown to hold everywhere"
    )
    return Finding(
        verdict,
        f"{start}: {in_words(parts)}. Points: the answer's fall of probability without the top-ranked phrase, minus "
        "its fall without a random one, on heads that did not rank the phrases.",
    )


def _p_value(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.2g}"


def _means(records: Sequence[Record], metric: str) -> dict[tuple[str, str], float]:
    """Maps (split, method) to the mean of a metric over its seeds."""
    rows = summary(select(records, metric=metric), by=("split", "method"))
    return {(row["split"], row["method"]): row["mean"] for row in rows}


def _table2(records: Sequence[Record]) -> str:
    curve = select(records, method="text_only_curve", metric="top1")
    sizes = sorted({one.vocabulary or 0 for one in curve})
    if len(sizes) < 2:
        return ""
    least, most = (_means(select(curve, vocabulary=size), "top1") for size in (sizes[0], sizes[-1]))
    parts = [f"{100 * least[key]:.1f} → {100 * most[key]:.1f}% on {key[0]}" for key in least]
    return f"Top-1 of phrases alone, from the {sizes[0]:,} most searched phrases to all {sizes[-1]:,}: {in_words(parts)}."


def _multi_label(records: Sequence[Record]) -> str:
    told = []
    found = _means(records, "gain_count_spearman")
    if found:
        parts = [f"{value:+.2f} on {split}".replace("-", "−", 1) for (split, _), value in found.items()]
        told.append(
            f"Rank correlation of a label's gain with its count in the long-tailed training set: {in_words(parts)} "
            "(below 0: rare labels gain more)."
        )
    rule = [_means(records, name) for name in ("trainable_labels", "trainable_positives")]
    if all(rule):
        number, least = (next(iter(values.values())) for values in rule)
        told.append(f"mAP covers {number:.0f} labels, each with at least {least:.0f} pictures in train.")
    return " ".join(told)


def _zero_shot(records: Sequence[Record]) -> str:
    found = {
        split: value
        for (split, method), value in _means(records, "share_of_supervised").items()
        if method == "zero_shot"
    }
    parts = [f"{100 * found[split]:.1f}% on {split}" for split in splits_of(records) if split in found]
    return f"Share of the supervised top-1 without labelled pictures: {in_words(parts)}." if parts else ""


def _open_vocabulary(records: Sequence[Record]) -> str:
    own = select(records, method="phrase_generator")
    depths = [int(r.metric[4:]) for r in own if re.fullmatch(r"hit@\d+", r.metric)]
    if not depths:
        return ""
    first, deepest = (_means(own, f"hit@{depth}") for depth in (1, max(depths)))
    parts = [
        f"{100 * value:.1f}% of {split}, one of the first {max(depths)} for {100 * deepest[split, method]:.1f}%"
        for (split, method), value in first.items()
    ]
    return (
        f"The first phrase is right for {'; '.join(parts)}. Right: a query of the picture, or of its label where the "
        "picture has no queries."
    )


def _text_encoder(records: Sequence[Record]) -> str:
    found = [
        (method, value)
        for (_, method), value in _means(select(records, split="held_out"), "recall@10").items()
    ]
    found.sort(key=lambda one: -one[1])
    parts = [f"{method.replace('_', ' ')} {100 * value:.1f}%" for method, value in found]
    return f"Recall@10 of the associated query: {', '.join(parts)}." if parts else ""


def _calibration(records: Sequence[Record]) -> str:
    error, reached = _means(records, "ece"), _means(records, "precision_at_threshold")
    chance = {
        split: f" ({100 * value:.1f}% by chance)"
        for (split, method), value in _means(records, "ece_by_chance").items()
        if method == "calibrated"
    }
    parts = [
        f"{100 * error[split, 'uncalibrated']:.1f} → {100 * error[split, 'calibrated']:.1f}% on "
        f"{_where(split)}{chance.get(split, '')}"
        for split in splits_of(records)
        if (split, "uncalibrated") in error and (split, "calibrated") in error
    ]
    if parts:
        return f"Calibration changes the expected calibration error: {in_words(parts)}."
    parts = [f"{100 * value:.1f}% on {_where(split)}" for (split, _), value in reached.items()]
    return f"Thresholds for 80% precision reach {in_words(parts)}." if parts else ""


def _where(split: str) -> str:
    return "all splits together" if split == "all" else split


MORE: dict[str, Callable[[Sequence[Record]], str]] = {
    "table2": _table2,
    "multi-label": _multi_label,
    "zero-shot": _zero_shot,
    "open-vocabulary": _open_vocabulary,
    "text-encoder": _text_encoder,
    "calibration": _calibration,
}
