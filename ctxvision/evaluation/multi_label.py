"""Suite `multi-label`: what context adds where a picture has several labels (section 4.2.3, Figure 4)."""

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
# Positives in `train` that make a label trainable; a lower number counts where a tenth of the labels do not reach it.
TRAINABLE = (100, 20, 5)
RECALLS = np.linspace(0.05, 1.0, 20)
# The commonest label of the long-tailed part keeps all its pictures, the rarest one in so many.
IMBALANCE = 10
LONG_TAILED = "multimodal_long_tailed"

# A test split to float32 [N, L].
Answers = dict[str, np.ndarray]


def multi_label(run: Run, progress: Progress, seeds: int, trainable_min: int | None = None) -> list[Record]:
    """Trains heads of each method, fraction and seed on `train`, and measures them on every test split.

    Args:
        run: trained to the end.
        progress: of the suite.
        seeds: heads for each row.
        trainable_min: pictures in `train` that a label of `map` needs; by default as `TRAINABLE` says.

    Returns:
        Of each head `map`, over the trainable labels (see `TRAINABLE`), and `recall_at_precision_80`, over all
        decisions; means over the seeds of `ap/LABEL`, for every label with test pictures, and of
        `precision_at_recall/R`, the curve over all decisions; `map_over_visual_only` with the ends of its interval.
        `trainable_labels` and `trainable_positives` say how many labels `map` is about, and the rule.

        Method `multimodal_long_tailed`: heads trained on the part of `train` that `long_tail` draws. Each seed has
        its `gain_count_spearman`, the rank correlation of a label's gain in AP over a visual-only head with its
        number of positives: below 0 where context helps rare labels more.

    Raises:
        InputError: a run of one label a picture, or too few labels to compare.
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
    methods = {name: METHODS[name] for name in ROWS}
    suite = _Suite(features, total=(len(methods) * len(run.config.fractions) + 2) * seeds)
    records = []
    for fraction in run.config.fractions:
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
    return records + _long_tailed(suite, train, seeds)


def trainable_labels(targets: np.ndarray, steps: Sequence[int] = TRAINABLE) -> tuple[int, np.ndarray]:
    """How many positives make a label trainable, and bool [L], which labels are; at least two.

    Args:
        targets: [N, L] of zeros and ones, of `train`.
        steps: numbers of positives, tried in this order.
    """
    counts = (targets > 0).sum(axis=0)
    for least in steps:
        enough = counts >= least
        if enough.sum() >= max(2, len(counts) / 10):
            return least, enough
    raise InputError(
        f"suite multi-label needs a tenth of the labels, and 2, to have {steps[-1]} pictures in train, got "
        f"{int(enough.sum())} of {len(counts)}: add pictures, or ask for fewer by --trainable-min."
    )


def long_tail(targets: np.ndarray, seed: int) -> np.ndarray:
    """Rows of a part of `train` whose counts fall exponentially over the labels (Cao et al. 2019).

    The labels are put into a random order. A picture goes by the rarest of its labels: of the pictures of label i
    of L a share of `IMBALANCE` ** (-i / (L - 1)) is kept, at least one. Those without a label are kept.

    Args:
        targets: [N, L] of zeros and ones.
        seed: of the order of labels and pictures.
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
    """Answers of heads, kept on disk, and records."""

    def __init__(self, features: Features, total: int):
        self.features, self._total, self._done = features, total, 0
        self._kept = Kept(features.run, "multi-label")

    def answers(
        self, name: str, method: str, fraction: float, seed: int, rows: np.ndarray | None = None
    ) -> Answers:
        """What a head says of the test splits; it is trained on these rows of `train`, by default all."""
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
    """Method, seed, metric and value of all that one split says; `found` has float32 [N, L] of each seed."""
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
    """Gains of labels of few and of many pictures, at the smallest fraction."""
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
