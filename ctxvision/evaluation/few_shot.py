"""Suite `few-shot`: accuracy from a few labelled pictures a label, with and without context."""

import dataclasses
import functools
import statistics
from collections.abc import Iterator

import numpy as np

from ctxvision.classifier.run import Run
from ctxvision.classifier.terms import PlacedTerms, place_terms, terms_of
from ctxvision.errors import InputError
from ctxvision.evaluation.features import Features
from ctxvision.evaluation.few_shot_methods import METHODS, Inputs, Method, Support
from ctxvision.evaluation.heads import Heads, Ranks
from ctxvision.evaluation.kept import Kept
from ctxvision.metrics import ranks_of
from ctxvision.metrics.records import Record
from ctxvision.training.progress import Progress

SHOTS = (1, 2, 5, 10, 20)
LEAST_DRAWS = 5
NEW_SHOTS = 5
BASE = "linear_probe"


def few_shot(run: Run, progress: Progress, seeds: int) -> list[Record]:
    """Learns from draws of 1, 2, 5, 10 and 20 pictures a label of `train`, and measures every test split.

    The visual features come from the run's smallest fraction. A label with fewer pictures gives all of them; a number
    of shots that no label has is left out. In the base-to-new setting (CoOp, Zhou et al. 2022) half of the labels keep
    all pictures and the new half has 5 each; each half is measured among its own labels.

    Args:
        run: a run whose stages are finished.
        progress: shows the suite's progress.
        seeds: number of draws for each row; at least 5 are used.

    Returns:
        `top1` and `top5`, 0..1, of each draw, and `top1_over_linear_probe` with the ends of its interval, by `shots`.
        The base-to-new setting has `top1_base`, `top1_new`, their harmonic mean `top1_harmonic`, and the differences
        of the first two.

    Raises:
        InputError: the run has one label only, `train` has no picture of a label, or pictures have several labels.
    """
    measured = _FewShot(run, progress, max(seeds, LEAST_DRAWS))
    return [*measured.shots(), *measured.base_to_new()]


class _FewShot:
    def __init__(self, run: Run, progress: Progress, draws: int):
        self.run, self.draws = run, draws
        self.features = Features(run, progress)
        self.fraction = min(run.config.fractions)
        self.ids = self.features.labels("train")
        self.num_labels = len(run.data.labels)
        self.counts = np.bincount(self.ids, minlength=self.num_labels)
        if self.num_labels < 2:
            raise InputError(
                f"suite few-shot needs at least 2 labels, got {self.num_labels}: give pictures of a second label."
            )
        if not self.counts.all():
            raise InputError(
                f"suite few-shot needs a picture of each label in train, got none of "
                f"{run.data.labels[int(self.counts.argmin())]!r}: add one, or drop the label."
            )
        self.possible = [shots for shots in SHOTS if shots <= self.counts.max()]
        self.heads = Heads(self.features, "few-shot", total=1)
        self.kept = Kept(run, "few-shot")
        self._total = len(METHODS) * draws * (len(self.possible) + 1)
        self._done = 0

    def shots(self) -> list[Record]:
        """Returns the records of the draws with the same number of pictures of each label."""
        records = []
        for shots in self.possible:
            keys = {"fraction": self.fraction, "shots": shots}
            found = {
                name: [
                    self._ranks(name, f"{shots}-shots", self._drawn(shots, draw), shots, draw)
                    for draw in range(self.draws)
                ]
                for name in METHODS
            }
            for name, ranks in found.items():
                for draw, one in enumerate(ranks):
                    records += self.heads.accuracy(one, method=name, seed=draw, **keys)
                if name != BASE:
                    records += self.heads.gain(ranks, found[BASE], BASE, method=name, **keys)
        return records

    def base_to_new(self) -> list[Record]:
        """Returns the records of the base-to-new setting; none if too few labels have 5 pictures."""
        new = self._new_labels()
        if not len(new):
            return []
        halves = {"base": np.setdiff1d(np.arange(self.num_labels), new), "new": new}
        keys = {"fraction": self.fraction, "shots": NEW_SHOTS}
        found: dict[str, dict[str, list[Ranks]]] = {half: {} for half in halves}
        for name in METHODS:
            for draw in range(self.draws):
                few = self._drawn(NEW_SHOTS, draw, new)
                rows = np.concatenate([np.flatnonzero(~np.isin(self.ids, new)), few])
                ranks = self._ranks(name, "base-to-new", rows, NEW_SHOTS, draw, halves)
                for half in halves:
                    own = {
                        key.removeprefix(f"{half}/"): v for key, v in ranks.items() if key.startswith(half)
                    }
                    found[half].setdefault(name, []).append(own)
        return [*self._of_halves(found, keys), *self._harmonic(found, keys)]

    def _of_halves(
        self, found: dict[str, dict[str, list[Ranks]]], keys: dict[str, float]
    ) -> Iterator[Record]:
        for half, by_method in found.items():
            for name, ranks in by_method.items():
                records = []
                for draw, one in enumerate(ranks):
                    top = self.heads.accuracy(one, method=name, seed=draw, **keys)
                    records += [record for record in top if record.metric == "top1"]
                if name != BASE:
                    records += self.heads.gain(ranks, by_method[BASE], BASE, method=name, **keys)
                for record in records:
                    metric = record.metric.replace("top1", f"top1_{half}", 1)
                    yield dataclasses.replace(record, metric=metric)

    def _harmonic(self, found: dict[str, dict[str, list[Ranks]]], keys: dict[str, float]) -> Iterator[Record]:
        for name in METHODS:
            for draw in range(self.draws):
                halves = [
                    self.heads.accuracy(found[half][name][draw], method=name, seed=draw, **keys)
                    for half in ("base", "new")
                ]
                for one, other in zip(*halves, strict=True):
                    if one.metric == "top1":
                        mean = statistics.harmonic_mean([one.value, other.value])
                        yield dataclasses.replace(one, metric="top1_harmonic", value=mean)

    def _new_labels(self) -> np.ndarray:
        """Returns the new half of the labels, the same for all draws; empty if too few labels have 5 pictures."""
        rng = np.random.default_rng([self.run.config.seed, 3])
        order = rng.permutation(np.flatnonzero(self.counts >= NEW_SHOTS))
        half = self.num_labels // 2
        return np.sort(order[:half]) if len(order) >= half >= 2 else np.array([], int)

    def _drawn(self, shots: int, draw: int, labels: np.ndarray | None = None) -> np.ndarray:
        """Draws rows of `train`: `shots` pictures of each label, or all of them; a larger draw extends a smaller one."""
        order = np.random.default_rng([self.run.config.seed, 2, draw]).permutation(len(self.ids))
        labels = np.arange(self.num_labels) if labels is None else labels
        return np.concatenate([order[self.ids[order] == label][:shots] for label in labels])

    def _ranks(
        self,
        name: str,
        setup: str,
        rows: np.ndarray,
        shots: int,
        draw: int,
        halves: dict[str, np.ndarray] | None = None,
    ) -> Ranks:
        """Returns the rank of each test picture's true label; with `halves`, among the labels of its half, as `HALF/SPLIT`."""
        self.features.progress.update(self._done / self._total)
        self._done += 1
        method = METHODS[name]

        def measure() -> Ranks:
            support = self._support(method, rows, draw)
            scores_of = method.learn(support, self._setting(name, shots))
            ranks: Ranks = {}
            for split in self.run.data.test_splits:
                scores, truth = scores_of(self._inputs(method, split)), self.features.labels(split)
                if halves is None:
                    ranks[split] = ranks_of(scores, truth)
                elif all(np.isin(labels, truth).any() for labels in halves.values()):
                    for half, labels in halves.items():
                        own = np.isin(truth, labels)
                        among = np.searchsorted(labels, truth[own])
                        ranks[f"{half}/{split}"] = ranks_of(scores[own][:, labels], among)
            return ranks

        return self.kept.arrays(f"{setup}-{name}-draw{draw}", measure)

    def _setting(self, name: str, shots: int) -> float:
        """Returns the method's best setting on `val` with one draw of `shots` pictures per label; of equal settings the first."""
        method = METHODS[name]
        rows, truth = self._drawn(shots, 0), self.features.labels("val")
        if len(method.settings) == 1 or not len(truth):
            return method.settings[0]

        def measure() -> dict[str, np.ndarray]:
            support, val = self._support(method, rows, 0), self._inputs(method, "val")
            right = [(ranks_of(method.learn(support, one)(val), truth) < 1).mean() for one in method.settings]
            return {"top1": np.array(right)}

        top1 = self.kept.arrays(f"val-{shots}-shots-{name}", measure)["top1"]
        return method.settings[int(top1.argmax())]

    def _support(self, method: Method, rows: np.ndarray, draw: int) -> Support:
        inputs = [part[rows] for part in self._inputs(method, "train")]
        steps = self.run.head_steps
        return Support(inputs, self.ids[rows], self.num_labels, steps, draw, self._terms)

    @functools.cached_property
    def _terms(self) -> PlacedTerms:
        data, config = self.run.data, self.run.config
        terms = terms_of(data.labels, data.manifest.label_terms)
        return place_terms(self.run.context, terms, config.seed)

    def _inputs(self, method: Method, split: str) -> Inputs:
        visual = self.features.visual(split, self.fraction)
        parts = (lambda: self.features.context(split), lambda: self.features.bottleneck(split))
        return [visual, *(part() for part in parts[: method.modalities - 1])]
