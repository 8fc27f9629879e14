"""What the numbers say, in words that are no stronger than the numbers."""

from collections.abc import Sequence
from typing import NamedTuple

from ctxvision.metrics.classification import mean_and_deviation
from ctxvision.metrics.records import Record, select

SMALLEST_POINTS = 1.0  # a few thousand test pictures alone spread by about half a point
DEVIATIONS = 2.0
UNITS = {
    "top1": "points of top-1",
    "top5": "points of top-5",
    "map": "points of mAP",
    "recall@10": "points of recall@10",
    "recall_at_precision_80": "points of recall at 80% precision",
    "probability_fall": "points of probability",
}


class Difference(NamedTuple):
    """How many points a method lies above another on a split.

    Args:
        split: where.
        points: the mean; `low` and `high` are the ends of its 95% interval, None where only seeds were paired.
        deviation: over `seeds` seeds, where there is no interval.
        base, reached: of both methods, where they are known.
        fraction, shots: of both methods.
    """

    split: str
    points: float
    low: float | None = None
    high: float | None = None
    deviation: float = 0.0
    seeds: int = 1
    base: float | None = None
    reached: float | None = None
    fraction: float | None = None
    shots: int | None = None

    @property
    def verdict(self) -> str:
        """ "adds", "costs", or "none" where the difference is too small to be told from chance."""
        if self.low is not None and self.high is not None:
            if self.low <= 0 <= self.high:
                return "none"
        elif abs(self.points) <= max(SMALLEST_POINTS, DEVIATIONS * self.deviation):
            return "none"
        return "adds" if self.points > 0 else "costs"

    @property
    def text(self) -> str:
        """Such as "+10.0 (+9.1 to +10.9)", or "+10.0 ± 0.4"; without a spread where there is one seed."""
        if self.low is None or self.high is None:
            return spread(self.points, self.deviation, self.seeds, sign=True)
        return f"{signed(self.points)} ({signed(self.low)} to {signed(self.high)})"


def signed(value: float) -> str:
    """ "+1.5", with a true minus sign."""
    return spread(value, 0.0, 1, sign=True)


def spread(value: float, deviation: float, seeds: int, sign: bool = False) -> str:
    """ "10.0 ± 0.4", with a true minus sign; a single seed has no spread to show."""
    number = f"{round(value, 1) + 0.0:{'+' if sign else ''}.1f}".replace("-", "−")
    return f"{number} ± {deviation:.1f}" if seeds > 1 else number


def percent(fraction: float) -> str:
    """0.1 -> "10%"."""
    return f"{100 * fraction:.3g}%"


def splits_of(records: Sequence[Record]) -> list[str]:
    """The splits in order of appearance, `unseen` first: it is the harder claim."""
    names = list(dict.fromkeys(record.split for record in records if record.split))
    return sorted(names, key=lambda name: name != "unseen")


def fractions_of(records: Sequence[Record]) -> list[float]:
    """The pre-training fractions, ascending."""
    return sorted({record.fraction for record in records if record.fraction is not None})


def intervals(records: Sequence[Record], method: str, metric: str) -> list[Difference]:
    """The recorded differences of a method, `metric` such as "top1_over_visual_only": by fraction, shots and split."""
    own = select(records, method=method)
    found = []
    for mean in select(own, metric=metric):
        keys = {"fraction": mean.fraction, "shots": mean.shots, "split": mean.split}
        keys["vocabulary"] = mean.vocabulary
        ends = [select(own, metric=f"{metric}_{end}", **keys) for end in ("low", "high")]
        if all(ends):
            low, high = (100 * end[0].value for end in ends)
            split = mean.split or "all"
            points = 100 * mean.value
            found.append(
                Difference(split, points, low, high, fraction=mean.fraction, shots=mean.shots),
            )
    order = {name: place for place, name in enumerate(splits_of(own))}
    return sorted(found, key=lambda one: (one.fraction or 0, one.shots or 0, order.get(one.split, 0)))


def differences(records: Sequence[Record], method: str, base: str = "visual_only") -> list[Difference]:
    """`method` against `base` in top-1, for each fraction and split where both share a seed.

    With the recorded interval where there is one, else with the deviation over seeds.
    """
    recorded = intervals(records, method, f"top1_over_{base}")
    found = []
    for fraction in fractions_of(records):
        for split in splits_of(records):
            here = select(records, fraction=fraction, split=split, metric="top1")
            lower = {record.seed: 100 * record.value for record in select(here, method=base)}
            own = {record.seed: 100 * record.value for record in select(here, method=method)}
            seeds = [seed for seed in lower if seed in own]
            if not seeds:
                continue
            points, deviation = mean_and_deviation([own[seed] - lower[seed] for seed in seeds])
            ends = [one for one in recorded if (one.fraction, one.split) == (fraction, split)]
            found.append(
                Difference(
                    split,
                    ends[0].points if ends else points,
                    low=ends[0].low if ends else None,
                    high=ends[0].high if ends else None,
                    deviation=deviation,
                    seeds=len(seeds),
                    base=mean_and_deviation([lower[seed] for seed in seeds])[0],
                    reached=mean_and_deviation([own[seed] for seed in seeds])[0],
                    fraction=fraction,
                )
            )
    return found


def opening(records: Sequence[Record]) -> list[str]:
    """The report's opening: what context does where labels are fewest, then the controls, then the rest.

    Args:
        records: those of suite "table1".

    Returns:
        Sentences of plain text; the first is the headline.
    """
    context = differences(records, "multimodal")
    if not context:
        return ["This run has no visual_only and multimodal accuracies to compare."]
    fewest = context[0].fraction
    first = [one for one in context if one.fraction == fewest]
    sentences = [f"{compared('context', first)}, at {percent(fewest or 0)} of the labels."]
    if words := beyond_web(records):
        sentences.append(words)
    controls = differences(records, "shuffled_phrases")
    shuffled = [one._replace(base=None) for one in controls if one.fraction == fewest]
    if shuffled:
        sentences.append(
            f"As a control, phrases of another picture (shuffled) change top-1 by {listed(shuffled, 'points')}."
        )
        if any(one.verdict == "adds" for one in shuffled):
            sentences.append("That part of the gain does not come from what the phrases say.")
    alone = [one for one in differences(records, "text_only", "multimodal") if one.fraction == fewest]
    better = [one._replace(base=None) for one in alone if one.verdict == "adds"]
    if better:
        sentences.append(
            f"The phrases alone (text only) are better than both together: {listed(better, 'points')}."
        )
    for fraction in dict.fromkeys(one.fraction for one in context if one.fraction != fewest):
        here = [one._replace(base=None) for one in context if one.fraction == fraction]
        sentences.append(f"At {percent(fraction or 0)}, {lowered(compared('context', here, 'points'))}.")
    if context[0].seeds == 1:
        sentences.append("One seed only: no spread is known.")
    return sentences


def beyond_web(records: Sequence[Record]) -> str:
    """What the words add where labels are fewest, over the same web pictures without them; "" where it is not known."""
    found = differences(records, "multimodal", "visual_web")
    fewest = [one._replace(base=None) for one in found if one.fraction == found[0].fraction]
    if not fewest:
        return ""
    told = lowered(compared("what the words say", fewest, "points"))
    return f"Beyond the same web pictures as plain pre-training (visual + web features), {told}."


def compared(subject: str, found: Sequence[Difference], unit: str = UNITS["top1"]) -> str:
    """ "Context adds +9.8 (+9.0 to +10.6) points of top-1 on unseen (20.9 → 30.7); no difference is shown: ..."."""
    clauses: list[str] = []
    for verdict, first, later in (
        ("adds", f"{subject} adds", "adds"),
        ("costs", f"{subject} costs accuracy:", "it costs accuracy:"),
        ("none", f"no difference by {subject} is shown:", "no difference is shown:"),
    ):
        same = [one for one in found if one.verdict == verdict]
        if same:
            clauses.append(f"{later if clauses else first} {listed(same, unit)}")
    told = "; ".join(clauses)
    return told[:1].upper() + told[1:]


def lowered(text: str) -> str:
    """With a small first letter."""
    return text[:1].lower() + text[1:]


def listed(found: Sequence[Difference], unit: str) -> str:
    """ "+9.8 ± 0.2 points on unseen (20.9 → 30.7) and +15.2 ± 0.3 on seen (35.8 → 51.0)"."""
    parts = []
    for number, one in enumerate(found):
        grew = "" if one.base is None or one.reached is None else f" ({one.base:.1f} → {one.reached:.1f})"
        parts.append(f"{one.text}{'' if number else ' ' + unit} on {one.split}{grew}")
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
