"""Suite `multi-label`: the gain of context with several labels a picture (section 4.2.3, Figure 4)."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ctxvision.classifier.head import probabilities_of
from ctxvision.classifier.run import Run
from ctxvision.errors import InputError
from ctxvision.evaluation.features import Features, short_name
from ctxvision.evaluation.kept import Kept
from ctxvision.evaluation.methods import METHODS, head_of, inputs_of
from ctxvision.metrics import (
    average_precision,
    interval_of_draws,
    map_draws,
    precision_at_recall,
    recall_at_precision,
    spearman,
)
from ctxvision.metrics.records import Record
from ctxvision.training.progress import Progress

ROWS = ("visual_only", "text_only", "multimodal", "multimodal_concat", "shuffled_phrases")
# Positives in `train` that make a label trainable; the next number applies if fewer than a tenth of the labels have
# that many.
TRAINABLE = (100, 20, 5, 1)
RECALLS = np.linspace(0.05, 1.0, 20)
# In the long-tailed part the commonest label keeps all of its pictures, and the rarest label 1 in `IMBALANCE`.
IMBALANCE = 10
LONG_TAILED = "multimodal_long_tailed"

# Maps a test split to probabilities, float32 [N, L].
Answers = dict[str, np.ndarray]


def multi_label(
    run: Run,
    progress: Progress,
    seeds: int,
    trainable_min: int | None = None,
    only: Sequence[str] | None = None,
) -> list[Record]:
    """Trains a head for each method, fraction and seed on `train`, and measures it on every test split.

    Args:
        run: a run whose stages are finished.
        progress: shows the suite's progress.
        seeds: number of heads for each row.
        trainable_min: pictures in `train` that a label of `map` needs; see `TRAINABLE` for the default.
        only: the methods to measure, by default all.

    Returns:
        For each head, `map` over the trainable labels and `recall_at_precision_80` over all decisions. Means over the
        seeds: `ap/LABEL` of every label with test pictures, `precision_at_recall/R` of the curve over all decisions,
        and `map_over_visual_only` with the ends of its interval. `trainable_labels` is the number of labels of `map`,
        and `trainable_positives` the number of pictures that they need.

        Method `multimodal_long_tailed` trains heads on the part of `train` that `long_tail` draws. For each seed,
        `gain_count_spearman` is the rank correlation between a label's gain in AP over a visual-only head and its
        number of positives; below 0, context helps rare labels more.

    Raises:
        InputError: the run has one label a picture, or too few labels to compare.
    """
    if not run.config.multi_label:
        raise InputError(
            "suite multi-label needs a run trained with several labels a picture, got one trained without multi_label: "
            "train another run with --multi-label."
        )
    features = Features(run, progress)
    train = run.data.label_targets("train")
    steps = TRAINABLE if trainable_min is None else (trainable_min,)
    least, trainable = trainable_labels(train, steps)
    methods = {name: METHODS[name] for name in ROWS if only is None or name in only}
    fractions = features.distinct(run.config.fractions)
    suite = _Suite(features, total=(len(methods) * len(fractions) + 2) * seeds)
    records = []
    for fraction in fractions:
        found: dict[str, list[Answers]] = {}
        for method in methods:
            name = f"{method}-{fraction:g}" if methods[method].by_fraction else method
            found[method] = [suite.answers(name, method, fraction, seed) for seed in range(seeds)]
        for split in run.data.test_splits:
            targets = run.data.label_targets(split)
            here = {method: [one[split] for one in answers] for method, answers in found.items()}
            keys = {"fraction": fraction, "split": short_name(split)}
            for record in _measured(here, targets, trainable, run.data.labels):
                records.append(suite.record(**keys, **record))
            rule = {"trainable_labels": trainable.sum(), "trainable_positives": least}
            records += [suite.record(**keys, metric=name, value=float(value)) for name, value in rule.items()]
    return records + (_long_tailed(suite, train, seeds) if only is None or LONG_TAILED in only else [])


def trainable_labels(targets: np.ndarray, steps: Sequence[int] = TRAINABLE) -> tuple[int, np.ndarray]:
    """Finds the labels with enough positives.

    Args:
        targets: [N, L] of zeros and ones, of `train`.
        steps: numbers of positives, tried in this order.

    Returns:
        The first number of positives that a tenth of the labels, and at least two, have; and bool [L], these labels.

    Raises:
        InputError: too few labels have the last number of positives.
    """
    counts = (targets > 0).sum(axis=0)
    for least in steps:
        enough = counts >= least
        if enough.sum() >= max(2, len(counts) / 10):
            return least, enough
    pictures = "1 picture" if steps[-1] == 1 else f"{steps[-1]} pictures"
    raise InputError(
        f"suite multi-label needs {pictures} in train for a tenth of the labels, and at least 2 labels, got "
        f"{int(enough.sum())} of {len(counts)}: add pictures, or lower --trainable-min."
    )


def long_tail(targets: np.ndarray, seed: int) -> np.ndarray:
    """Draws a part of `train` in which counts fall exponentially over the labels (Cao et al. 2019).

    A picture belongs to the rarest of its labels. Of the pictures of label i of L, in a random order of labels, the
    share `IMBALANCE` ** (-i / (L - 1)) is kept, at least one picture. Pictures without labels are kept.

    Args:
        targets: [N, L] of zeros and ones.
        seed: seed of the order of labels and pictures.

    Returns:
        The rows that are kept, ascending.
    """
    rng = np.random.default_rng([seed, 2])
    counts = (targets > 0).sum(axis=0)
    rarest = np.where((targets > 0).any(axis=1), np.where(targets > 0, counts, np.inf).argmin(axis=1), -1)
    shares = IMBALANCE ** -rng.permutation(np.linspace(0, 1, len(counts)))
    rows = rng.permutation(len(targets))
    groups = [rows[rarest[rows] == label] for label in range(len(counts))]
    kept = [group[: max(1, round(share * len(group)))] for group, share in zip(groups, shares)]
    return np.sort(np.concatenate([*kept, rows[rarest[rows] < 0]]))


class _Suite:
    """Answers of heads, kept on disk, and their records."""

    def __init__(self, features: Features, total: int):
        self.features, self._total, self._done = features, total, 0
        self._kept = Kept(features.run, "multi-label")

    def answers(
        self, name: str, method: str, fraction: float, seed: int, rows: np.ndarray | None = None
    ) -> Answers:
        """Trains a head on these rows of `train`, by default all, and predicts the test splits."""
        run = self.features.run
        self.features.progress.update(min(1.0, self._done / self._total))
        self._done += 1

        def measure() -> Answers:
            recipe = METHODS[method]
            head = head_of(self.features, recipe, fraction, seed, rows)
            return {
                split: probabilities_of(head, inputs_of(self.features, recipe, split, fraction, seed))
                for split in run.data.test_splits
            }

        return self._kept.arrays(f"{name}-seed{seed}", measure)

    def record(self, **keys: Any) -> Record:
        run = self.features.run
        vocabulary = int(run.context.phrase_table.live.sum())
        return Record(suite="multi-label", data=run.data.name, vocabulary=vocabulary, **keys)


def _measured(
    found: dict[str, list[np.ndarray]], targets: np.ndarray, trainable: np.ndarray, labels: Sequence[str]
) -> list[dict[str, Any]]:
    """Yields keys and values of the records of one split; `found` has probabilities, float32 [N, L], of each seed."""
    rows: list[dict[str, Any]] = []
    counted = trainable & (targets > 0).any(axis=0)
    if not counted.any():
        return rows
    draws: dict[str, np.ndarray] = {}
    maps: dict[str, list[float]] = {}
    for method, answers in found.items():
        by_label = [average_precision(one, targets) for one in answers]
        maps[method] = [float(ap[counted].mean()) for ap in by_label]
        draws[method] = np.stack([map_draws(one[:, counted], targets[:, counted]) for one in answers])
        for seed, one in enumerate(answers):
            recall = recall_at_precision(one, targets)
            rows.append({"method": method, "seed": seed, "metric": "map", "value": maps[method][seed]})
            rows.append({"method": method, "seed": seed, "metric": "recall_at_precision_80", "value": recall})
        curve = np.mean([precision_at_recall(one, targets, RECALLS) for one in answers], axis=0)
        means = {f"ap/{label}": ap for label, ap in zip(labels, np.mean(by_label, axis=0)) if ap == ap}
        means |= {f"precision_at_recall/{r:.2f}": value for r, value in zip(RECALLS, curve)}
        rows += [{"method": method, "metric": name, "value": float(value)} for name, value in means.items()]
        if method != "visual_only":
            gains = np.subtract(maps[method], maps["visual_only"]).tolist()
            interval = interval_of_draws(gains, draws[method] - draws["visual_only"])
            for end, value in zip(("", "_low", "_high"), interval):
                rows.append({"method": method, "metric": f"map_over_visual_only{end}", "value": value})
    return rows


def _long_tailed(suite: _Suite, train: np.ndarray, seeds: int) -> list[Record]:
    """Returns the records of `multimodal_long_tailed`, at the smallest fraction."""
    run, fraction = suite.features.run, min(suite.features.run.config.fractions)
    records = []
    for seed in range(seeds):
        rows = long_tail(train, seed)
        counts = (train[rows] > 0).sum(axis=0)
        multimodal, visual = (
            suite.answers(f"{method}-{fraction:g}-long-tailed", method, fraction, seed, rows)
            for method in ("multimodal", "visual_only")
        )
        for split in run.data.test_splits:
            targets = run.data.label_targets(split)
            gains = average_precision(multimodal[split], targets) - average_precision(visual[split], targets)
            there = np.isfinite(gains)
            if len(set(counts[there])) < 2 or len(set(gains[there])) < 2:
                continue  # nothing to rank
            records.append(
                suite.record(
                    method=LONG_TAILED,
                    fraction=fraction,
                    seed=seed,
                    split=short_name(split),
                    metric="gain_count_spearman",
                    value=spearman(gains[there], counts[there]),
                )
            )
    return records
