"""Suite `deletion`: the effect on the answer of the phrase that `explain` ranks first."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from ctxvision._files import file_name
from ctxvision.classifier.run import Run
from ctxvision.errors import InputError
from ctxvision.evaluation.features import Features, short_name
from ctxvision.evaluation.kept import Kept
from ctxvision.evaluation.methods import METHODS, head_of
from ctxvision.layers import ContextFusion
from ctxvision.metrics import paired_interval, sign_flip_p_value
from ctxvision.metrics.records import Record
from ctxvision.models.explanation import explain_found, without_phrases
from ctxvision.training.progress import Progress

COUNTS = (1, 2, 3, 5)
MOST_PICTURES = 2000
BATCH_SIZE = 128


class Explained(NamedTuple):
    """Pictures of a split with the explanations of the run's classifier.

    Attributes:
        visual: float32 [N, D], visual features.
        queries: float32 [N, 64], query embeddings.
        ids: int32 [N, k], the phrases.
        scores: float32 [N, k], their scores; -1 or less for a missing phrase.
        shares: float32 [N, k], their shares in the probability of the label.
        labels: int32 [N], the most probable label of each picture.
    """

    visual: np.ndarray
    queries: np.ndarray
    ids: np.ndarray
    scores: np.ndarray
    shares: np.ndarray
    labels: np.ndarray


def deletion(run: Run, progress: Progress, seeds: int) -> list[Record]:
    """Compares the fall of the first label's probability without the top-ranked phrases and without random phrases.

    The run's classifier ranks the phrases by share, and `first` and `random` measure the fall on the same classifier.
    `first_on_other_head` and `random_on_other_head` are the harder check: heads that were trained the same way from
    other seeds measure the fall for the same label. A split gives at most 2000 pictures with two phrases or more.

    Returns:
        `probability_fall`, -1..1, of each method without one phrase, and `probability_fall/N` without N phrases: the
        first N by share, or N random phrases other than the first. `first` and `first_on_other_head` also have
        `probability_fall_over_random` with the ends of its interval, and `p_value` of a two-sided sign-flip test over
        pictures.

    Raises:
        InputError: no picture of a split has two phrases.
    """
    features, kept = Features(run, progress), Kept(run, "deletion")
    own, splits = run.config.seed, run.data.test_splits
    others = range(own + 1, own + 1 + seeds)
    counts = [n for n in COUNTS if n < run.choice.k]

    @functools.cache
    def head(seed: int) -> ContextFusion:
        if seed == own:
            return run.classifier.fusion
        return head_of(features, METHODS["multimodal"], max(run.config.fractions), seed)

    records = []
    for number, split in enumerate(splits):
        explained = functools.cache(functools.partial(_explained, features, split))
        for seeds_of, suffix in (([own], ""), (others, "_on_other_head")):
            falls = []
            for seed in seeds_of:
                progress.update((number + (seed - own) / (seeds + 1)) / len(splits))

                def measure(
                    seed: int = seed, explained: Callable[[], Explained] = explained
                ) -> dict[str, np.ndarray]:
                    return _falls(run, explained(), head(seed), counts, seed)

                falls.append(kept.arrays(f"{file_name(split)}-seed{seed}", measure))
            keys = {"data": run.data.name, "fraction": max(run.config.fractions), "split": short_name(split)}
            keys["vocabulary"] = int(run.context.phrase_table.live.sum())
            records += _records(falls, seeds_of, counts, suffix, **keys)
    return records


def _explained(features: Features, split: str) -> Explained:
    run, model = features.run, features.run.classifier
    queries, visual = features.bottleneck(split), features.visual(split, max(run.config.fractions))
    rows = np.random.default_rng([run.config.seed, *split.encode()]).permutation(len(queries))
    rows = np.sort(rows[:MOST_PICTURES])
    parts = []
    for start in range(0, len(rows), BATCH_SIZE):
        part = rows[start : start + BATCH_SIZE]
        found = model.find_context(tf.constant(queries[part]))
        told = explain_found(model, found, tf.constant(visual[part]), tf.constant(queries[part]), top=1)
        parts.append(
            (told["phrase_ids"], told["phrase_scores"], told["shares"][:, 0], told["label_ids"][:, 0])
        )
    explained = Explained(visual[rows], queries[rows], *(np.concatenate(column) for column in zip(*parts)))
    several = np.count_nonzero(explained.scores > -1, axis=1) > 1
    if not several.any():
        raise InputError(
            f"suite deletion needs pictures with two phrases or more, got none in {split}: give more queries."
        )
    return Explained(*(values[several] for values in explained))


def _falls(
    run: Run,
    explained: Explained,
    head: ContextFusion,
    counts: Sequence[int],
    seed: int,
) -> dict[str, np.ndarray]:
    """Computes how far the label's probability falls under `head` for `first` and `random`, float32 [N, counts]; see `deletion`."""
    absent = explained.scores <= -1
    rank = _places(np.where(absent, np.inf, -explained.shares))
    drawn = np.random.default_rng(seed).random(absent.shape)
    random = _places(np.where(absent, 3, np.where(rank == 0, 2, drawn)))
    removed = [np.zeros_like(absent), *(place < n for place in (rank, random) for n in counts)]
    masks, model, parts = np.stack(removed, axis=1), run.classifier, []
    for start in range(0, len(absent), BATCH_SIZE):
        some = slice(start, start + BATCH_SIZE)
        probabilities = without_phrases(
            model.pooling,
            head,
            tf.constant(explained.visual[some]),
            tf.constant(explained.queries[some]),
            model.phrase_embeddings(tf.constant(explained.ids[some])),
            tf.constant(explained.scores[some]),
            tf.constant(masks[some]),
        )
        parts.append(tf.gather(probabilities, explained.labels[some], axis=2, batch_dims=1))
    own = np.concatenate(parts)
    first, others = np.split(own[:, :1] - own[:, 1:], 2, axis=1)
    return {"first": first, "random": others}


def _places(values: np.ndarray) -> np.ndarray:
    """Returns the rank of each value in its row, int [N, k], 0 for the smallest."""
    return values.argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")


def _records(
    falls: Sequence[dict[str, np.ndarray]],
    seeds: Sequence[int],
    counts: Sequence[int],
    suffix: str,
    **keys: Any,
) -> list[Record]:
    record = functools.partial(Record, suite="deletion", **keys)
    records = []
    for seed, fall in zip(seeds, falls, strict=True):
        for method, values in fall.items():
            names = ["probability_fall", *(f"probability_fall/{n}" for n in counts)]
            means = values.mean(axis=0, dtype=float)
            records += [
                record(method=method + suffix, seed=seed, metric=name, value=float(value))
                for name, value in zip(names, [means[0], *means], strict=True)
            ]
    differences = np.stack([fall["first"][:, 0] - fall["random"][:, 0] for fall in falls])
    ends = zip(("", "_low", "_high"), paired_interval(differences), strict=True)
    p_value = sign_flip_p_value(differences.mean(axis=0))
    return [
        *records,
        *(
            record(method=f"first{suffix}", metric=f"probability_fall_over_random{end}", value=value)
            for end, value in ends
        ),
        record(method=f"first{suffix}", metric="p_value", value=p_value),
    ]
