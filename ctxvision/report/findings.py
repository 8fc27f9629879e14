"""Writes sentences about differences, no stronger than the numbers."""

from collections.abc import Sequence
from typing import NamedTuple

from ctxvision.metrics.classification import mean_and_deviation
from ctxvision.metrics.records import Record, select

SMALLEST_POINTS = 1.0  # a few thousand test pictures alone spread by about half a point
DEVIATIONS = 2.0
# Maps a verdict to the start of the first sentence, which follows the subject, and to the start of a later sentence.
_STARTS = {
    "adds": ("raises {}", "Higher"),
    "costs": ("lowers {}", "Lower"),
    "none": ("makes no clear difference to {}", "No clear difference"),
}


class Difference(NamedTuple):
    """How many points one method lies above another on a split.

    Attributes:
        split: its short name.
        points: the mean; `low` and `high` are the ends of its 95% interval, or None where only seeds are paired.
        deviation: over `seeds` seeds; used where there is no interval.
        base, reached: the values of both methods in %, or None where they are unknown.
        fraction, shots: fraction and number of shots of both methods.
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
        """ "adds", "costs", or "none" where chance may explain the difference."""
        if self.low is not None and self.high is not None:
            if self.low <= 0 <= self.high:
                return "none"
        elif abs(self.points) <= max(SMALLEST_POINTS, DEVIATIONS * self.deviation):
            return "none"
        return "adds" if self.points > 0 else "costs"

    @property
    def text(self) -> str:
        """Such as "+10.0 (+9.1 to +10.9)" or "+10.0 ± 0.4"; one seed has no spread."""
        return " ".join(part for part in (self._number, self._interval) if part)

    @property
    def sentence(self) -> str:
        """Such as "+10.0 points (+9.1 to +10.9) on seen (35.8 → 45.8%)"."""
        grew = "" if self.base is None or self.reached is None else f"{self.base:.1f} → {self.reached:.1f}%"
        parts = (f"{self._number} points", self._interval, f"on {self.split}", grew and f"({grew})")
        return " ".join(part for part in parts if part)

    @property
    def _number(self) -> str:
        sure = self.low is not None and self.high is not None
        return spread(self.points, self.deviation, 1 if sure else self.seeds, sign=True)

    @property
    def _interval(self) -> str:
        if self.low is None or self.high is None:
            return ""
        return f"({signed(self.low)} to {signed(self.high)})"


def signed(value: float) -> str:
    """Formats a number of points as "+1.5", with a true minus sign."""
    return spread(value, 0.0, 1, sign=True)


def spread(value: float, deviation: float, seeds: int, sign: bool = False) -> str:
    """Formats a mean and its deviation as "10.0 ± 0.4", with a true minus sign; one seed has no spread."""
    number = f"{round(value, 1) + 0.0:{'+' if sign else ''}.1f}".replace("-", "−")
    return f"{number} ± {deviation:.1f}" if seeds > 1 else number


def percent(fraction: float) -> str:
    """Formats a share: 0.1 -> "10%"."""
    return f"{100 * fraction:.3g}%"


def splits_of(records: Sequence[Record]) -> list[str]:
    """Returns the splits in order of appearance, `unseen` first, because it is the harder claim."""
    names = list(dict.fromkeys(record.split for record in records if record.split))
    return sorted(names, key=lambda name: name != "unseen")


def fractions_of(records: Sequence[Record]) -> list[float]:
    """Returns the pre-training fractions, ascending."""
    return sorted({record.fraction for record in records if record.fraction is not None})


def intervals(records: Sequence[Record], method: str, metric: str) -> list[Difference]:
    """Returns the recorded differences of a method, sorted by fraction, shots and split.

    Args:
        records: records of one suite.
        method: its name.
        metric: such as "top1_over_visual_only"; `METRIC_low` and `METRIC_high` hold the ends of the interval.
    """
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
    """Subtracts the top-1 of `base` from that of `method`, for each fraction and split where both have a common seed.

    A difference has its recorded interval where there is one, else the deviation over seeds.
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
    """Writes the report's first sentences: the effect of context with the fewest labels, the controls, other fractions.

    Args:
        records: the records of suite "table1".

    Returns:
        Plain text; the first entry is the headline.
    """
    context = differences(records, "multimodal")
    if not context:
        return ["The run has no accuracies of visual_only and multimodal to compare."]
    fewest = context[0].fraction
    first = [one for one in context if one.fraction == fewest]
    told = [compared("context", first, setting=at_share(fewest))]
    if words := beyond_web(records):
        told.append(words)
    controls = differences(records, "shuffled_phrases")
    shuffled = [one._replace(base=None) for one in controls if one.fraction == fewest]
    if shuffled:
        told.append(f"Control: phrases of another picture (shuffled) change top-1 by {listed(shuffled)}.")
        if any(one.verdict == "adds" for one in shuffled):
            told.append("That part of the gain does not come from the meaning of the phrases.")
    alone = [one for one in differences(records, "text_only", "multimodal") if one.fraction == fewest]
    better = [one._replace(base=None) for one in alone if one.verdict == "adds"]
    if better:
        told.append(f"Phrases alone (text only) beat picture and phrases together: {listed(better)}.")
    for fraction in dict.fromkeys(one.fraction for one in context if one.fraction != fewest):
        here = [one._replace(base=None) for one in context if one.fraction == fraction]
        told.append(compared("context", here, setting=at_share(fraction)))
    if context[0].seeds == 1:
        told.append("One seed only: the spread is unknown.")
    return told


def beyond_web(records: Sequence[Record]) -> str:
    """Tells the gain of words over the same web pictures without words, with the fewest labels; "" if unknown."""
    found = differences(records, "multimodal", "visual_web")
    fewest = [one._replace(base=None) for one in found if one.fraction == found[0].fraction]
    setting = " beyond the same web pictures without words (visual + web features)"
    return compared(
        "predicted text", fewest, setting=setting + at_share(fewest[0].fraction) if fewest else ""
    )


def at_share(fraction: float | None) -> str:
    """Returns " with 10% of the labels" for 0.1, and "" for None."""
    return "" if fraction is None else f" with {percent(fraction)} of the labels"


def compared(subject: str, found: Sequence[Difference], metric: str = "top-1", setting: str = "") -> str:
    """Tells differences, grouped by verdict; "" for no differences.

    Such as "Context raises top-1 with 10% of the labels: +9.8 points (+9.0 to +10.6) on unseen. No clear difference:
    +0.3 points (−0.2 to +0.9) on seen."
    """
    told: list[str] = []
    for verdict, (first, later) in _STARTS.items():
        same = [one for one in found if one.verdict == verdict]
        if same:
            start = later if told else f"{subject[:1].upper()}{subject[1:]} {first.format(metric)}{setting}"
            told.append(f"{start}: {listed(same)}.")
    return " ".join(told)


def listed(found: Sequence[Difference]) -> str:
    """Lists differences: "+9.8 ± 0.2 points on unseen (20.9 → 30.7%) and +15.2 ± 0.3 points on seen (35.8 → 51.0%)"."""
    return in_words([one.sentence for one in found])


def in_words(parts: Sequence[str]) -> str:
    """Joins words: "a, b and c"."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
