"""What the numbers of Table 1 say, in words that are no stronger than the numbers."""

from collections.abc import Sequence
from typing import NamedTuple

from ctxvision.evaluation.records import Record, select
from ctxvision.metrics.classification import mean_and_deviation

SMALLEST_POINTS = 1.0  # a few thousand test pictures alone spread by about half a point
DEVIATIONS = 2.0


class Difference(NamedTuple):
    """How many points of top-1 a method lies above `visual_only`, paired by seed."""

    split: str
    fraction: float
    base: float
    reached: float
    points: float
    deviation: float
    seeds: int

    @property
    def verdict(self) -> str:
        """ "adds", "costs", or "none" where the difference is too small to be told from chance."""
        if abs(self.points) <= max(SMALLEST_POINTS, DEVIATIONS * self.deviation):
            return "none"
        return "adds" if self.points > 0 else "costs"

    @property
    def text(self) -> str:
        """Such as "+10.0 ± 0.4"; without a deviation where there is one seed."""
        return spread(self.points, self.deviation, self.seeds, sign=True)


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


def differences(records: Sequence[Record], method: str) -> list[Difference]:
    """`method` against `visual_only` in top-1, for each fraction and split where both share a seed."""
    found = []
    for fraction in fractions_of(records):
        for split in splits_of(records):
            here = select(records, fraction=fraction, split=split, metric="top1")
            base = {record.seed: 100 * record.value for record in select(here, method="visual_only")}
            own = {record.seed: 100 * record.value for record in select(here, method=method)}
            seeds = [seed for seed in base if seed in own]
            if seeds:
                points, deviation = mean_and_deviation([own[seed] - base[seed] for seed in seeds])
                found.append(
                    Difference(
                        split,
                        fraction,
                        mean_and_deviation([base[seed] for seed in seeds])[0],
                        mean_and_deviation([own[seed] for seed in seeds])[0],
                        points,
                        deviation,
                        len(seeds),
                    )
                )
    return found


def opening(records: Sequence[Record]) -> list[str]:
    """The report's opening: what context does where labels are fewest, then the control, then the rest.

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
    rest = [one for one in context if one.fraction != fewest]
    sentences = _headline(first, fewest)
    shuffled = [one for one in differences(records, "shuffled_phrases") if one.fraction == fewest]
    if shuffled:
        sentences.append(
            f"As a control, phrases of another picture (shuffled) change top-1 by {_listed(shuffled)}."
        )
        if any(one.verdict == "adds" for one in shuffled):
            sentences.append("That part of the gain does not come from what the phrases say.")
    sentences += _elsewhere(rest)
    if context[0].seeds == 1:
        sentences.append("One seed only: no spread is known.")
    return sentences


def _headline(found: list[Difference], fraction: float) -> list[str]:
    sentences = []
    for verdict, start in (
        ("adds", "Context adds"),
        ("costs", "Context costs accuracy:"),
        ("none", "No difference by context is shown:"),
    ):
        same = [one for one in found if one.verdict == verdict]
        if same:
            sentences.append(f"{start} {_listed(same, reached=True)}, at {percent(fraction)} of the labels.")
    return sentences


def _elsewhere(found: list[Difference]) -> list[str]:
    sentences = []
    for fraction in dict.fromkeys(one.fraction for one in found):
        clauses = []
        for verdict, start in (
            ("adds", "context adds"),
            ("costs", "context costs accuracy:"),
            ("none", "no difference is shown:"),
        ):
            same = [one for one in found if one.fraction == fraction and one.verdict == verdict]
            if same:
                clauses.append(f"{start} {_listed(same)}")
        sentences.append(f"At {percent(fraction)}, {'; '.join(clauses)}.")
    return sentences


def _listed(found: list[Difference], reached: bool = False) -> str:
    """ "+9.8 ± 0.2 points of top-1 on unseen (20.9 → 30.7) and +15.2 ± 0.3 on seen (35.8 → 51.0)"."""
    units = [" points of top-1" if reached else " points"] + [""] * (len(found) - 1)
    parts = [
        f"{one.text}{unit} on {one.split}" + (f" ({one.base:.1f} → {one.reached:.1f})" if reached else "")
        for one, unit in zip(found, units)
    ]
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
