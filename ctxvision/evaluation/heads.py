"""The heads that a suite compares: training over frozen features, and records of their answers."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tf_keras as keras

from ctxvision.classifier.head import probabilities_of
from ctxvision.classifier.trained_head import Inputs, trained_head
from ctxvision.evaluation.features import Features, short_name
from ctxvision.evaluation.kept import Kept
from ctxvision.metrics import paired_interval, ranks_of
from ctxvision.metrics.records import Record

# Maps a test split to the rank of each picture's true label, int [N].
Ranks = dict[str, np.ndarray]


class Heads:
    """Trains the heads of a suite and keeps their answers on disk.

    Args:
        features: features of the run.
        suite: name of the suite.
        total: number of heads, for the progress.
    """

    def __init__(self, features: Features, suite: str, total: int):
        self.features, self.suite, self._total, self._done = features, suite, total, 0

    def ranks(
        self,
        name: str,
        inputs: Inputs,
        seed: int,
        suite: str | None = None,
        train: Callable[..., keras.layers.Layer] = trained_head,
        **arguments: Any,
    ) -> Ranks:
        """Trains a head on `train` and ranks the true label of each picture of every test split.

        Args:
            name: name of the head, without the seed; part of a file name.
            inputs: maps a split to its features, one array per modality.
            seed: seed of the head.
            suite: name of the suite whose folder keeps the ranks, to share its heads; this suite by default.
            train: a function with the first arguments and the result of `trained_head`.
            **arguments: further arguments of `train`.
        """
        run = self.features.run
        self.features.progress.update(min(1.0, self._done / self._total))
        self._done += 1

        def measure() -> Ranks:
            head = train(run, inputs, seed, **arguments)
            return {
                split: ranks_of(probabilities_of(head, inputs(split)), self.features.labels(split))
                for split in run.data.test_splits
            }

        return Kept(run, suite or self.suite).arrays(f"{name}-seed{seed}", measure)

    def accuracy(self, ranks: Ranks, **keys: Any) -> list[Record]:
        """Returns the records of `top1` and `top5` of one head on every split."""
        return [
            self._record(split, metric=f"top{k}", value=float((places < k).mean()), **keys)
            for split, places in ranks.items()
            for k in (1, 5)
        ]

    def gain(self, ranks: Sequence[Ranks], base: Sequence[Ranks], over: str, **keys: Any) -> list[Record]:
        """Returns the records of `top1_over_BASE` with `_low` and `_high`, the ends of its 95% interval, on every split.

        Args:
            ranks, base: one entry for each seed, in the same order.
            over: name of the base method.
            **keys: keys of the records.
        """
        return self.mean_gain([ranks], [base], over, **keys)

    def mean_gain(
        self, ranks: Sequence[Sequence[Ranks]], base: Sequence[Sequence[Ranks]], over: str, **keys: Any
    ) -> list[Record]:
        """Returns the records of `gain`, averaged over settings such as fractions: `ranks[setting][seed]` and `base[setting][seed]`."""
        records = []
        for split in ranks[0][0]:
            right, of_base = (
                np.mean([[one[split] < 1 for one in seeds] for seeds in found], axis=0)
                for found in (ranks, base)
            )
            ends = zip(("", "_low", "_high"), paired_interval(right - of_base), strict=True)
            records += [
                self._record(split, metric=f"top1_over_{over}{end}", value=value, **keys)
                for end, value in ends
            ]
        return records

    def _record(self, split: str, **keys: Any) -> Record:
        run = self.features.run
        found = {"vocabulary": int(run.context.phrase_table.live.sum()), **keys}
        return Record(suite=self.suite, data=run.data.name, split=short_name(split), **found)
