"""Suite `table2`: the gain of an output space beyond the trained classes (Table 2, section 4.5)."""

import functools
from collections.abc import Sequence

import numpy as np

from ctxvision.classifier.run import Run
from ctxvision.context.context import Context
from ctxvision.context.small import FEWEST, small_context
from ctxvision.evaluation.features import ALL, CLASSES, ContextRecipe, Features
from ctxvision.evaluation.heads import Heads, Ranks
from ctxvision.evaluation.table1 import FRACTIONS
from ctxvision.metrics.records import Record
from ctxvision.training.progress import Progress

POINTS = 10
# With fewer phrases, the classes of the second generator would be half of them.
FEWEST_PHRASES = 2 * FEWEST


def table2(run: Run, progress: Progress, seeds: int, fractions: Sequence[float] = FRACTIONS) -> list[Record]:
    """Compares phrases from the softmax classes (`_small`) with phrases from all prototypes.

    `text_only` and `multimodal_concat`, the method's own head, are trained and measured with both vocabularies, at every
    fraction of visual pre-training. If every phrase of the run's context was a softmax class, a second generator learns
    the most frequent queries (see `small_context`), and its classes are compared with all of its prototypes. With fewer
    than 200 phrases no second generator is trained, and `_small` is left out. `text_only_curve` is text alone over the
    most searched phrases of the run's own context, at ten sizes in equal ratios, from the number of phrases a picture to
    all phrases.

    Args:
        run: a run whose stages are finished.
        progress: shows the suite's progress.
        seeds: number of heads for each row.
        fractions: fractions of visual pre-training; a frozen encoder has only the largest of the run's.

    Returns:
        `top1` and `top5`, 0..1, of each head, with the number of retrievable phrases as `vocabulary`; for both methods
        `top1_over_METHOD_small` with the ends of its interval, at every fraction and as the mean over them (fraction
        None).

    Raises:
        InputError: every phrase was a class, and the pictures for a second generator are missing.
    """
    own = Features(run, progress)
    fractions = own.distinct(fractions)
    features, kept_as = own, ""
    same = _size(own, CLASSES) == _size(own, ALL)
    if same and _size(own, ALL) >= FEWEST_PHRASES:
        trained = small_context(run.context, Progress(progress.stream, progress.every))
        expanded = Context(trained.directory, languages=run.context.languages)
        features, kept_as, same = Features(run, progress, expanded), "expanded-", False
    small, large = _size(features, CLASSES), _size(features, ALL)
    spaces = [(ALL, large, "")] if same else [(CLASSES, small, "_small"), (ALL, large, "")]
    sizes = curve_sizes(own.chosen.k, _size(own, ALL))
    heads = Heads(own, "table2", total=seeds * (2 * len(fractions) * len(spaces) + len(sizes)))
    records: list[Record] = []

    def ranks_of(source: Features, context: ContextRecipe, fraction: float | None, name: str) -> list[Ranks]:
        def inputs(split: str) -> list[np.ndarray]:
            visual = [] if fraction is None else [source.visual(split, fraction)]
            return [*visual, source.context(split, context)]

        # Over all prototypes of the run's own context, Table 1 has the same heads.
        suite = "table1" if source is own and context == own.chosen else None
        return [heads.ranks(name, inputs, seed, suite, fusion="concat") for seed in range(seeds)]

    for method in ("text_only", "multimodal_concat"):
        found: dict[str, list[list[Ranks]]] = {}
        for vocabulary, size, suffix in spaces:
            context = features.chosen._replace(vocabulary=vocabulary)
            for fraction in fractions:
                sees = method == "multimodal_concat"
                name = f"{kept_as}{method}{suffix}" + (f"-{fraction:g}" if sees else "")
                ranks = ranks_of(features, context, fraction if sees else None, name)
                found.setdefault(suffix, []).append(ranks)
                records += _accuracies(heads, ranks, method + suffix, fraction, size)
        if same:
            continue
        gain = functools.partial(heads.mean_gain, over=f"{method}_small", method=method, vocabulary=large)
        for number, fraction in enumerate(fractions):
            records += gain([found[""][number]], [found["_small"][number]], fraction=fraction)
        records += gain(found[""], found["_small"])
    for size in sizes:
        context = own.chosen._replace(vocabulary=size)
        ranks = ranks_of(own, context, None, f"text_only_curve-{size}")
        records += _accuracies(heads, ranks, "text_only_curve", None, size)
    return records


def curve_sizes(smallest: int, largest: int) -> list[int]:
    """Returns at most ten integers in equal ratios, rising, with both ends."""
    return sorted({round(size) for size in np.geomspace(smallest, largest, POINTS)})


def _size(features: Features, vocabulary: str) -> int:
    table = features.table(vocabulary)
    return 0 if table is None else features.source.num_retrievable(table)


def _accuracies(
    heads: Heads, ranks: Sequence[Ranks], method: str, fraction: float | None, vocabulary: int
) -> list[Record]:
    keys = {"method": method, "fraction": fraction, "vocabulary": vocabulary}
    return [record for seed, one in enumerate(ranks) for record in heads.accuracy(one, seed=seed, **keys)]
