"""Suite `text-encoder`: retrieval of associated queries by the text encoder."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras as keras

from ctxvision.classifier.run import Run
from ctxvision.context.text import TEXT_RATE, forget_untrained
from ctxvision.data.associations import association_batches
from ctxvision.errors import InputError
from ctxvision.evaluation.held_out_queries import HeldOut, hold_out, misspelt
from ctxvision.evaluation.kept import Kept
from ctxvision.layers import DualEncoderText
from ctxvision.metrics import filtered_ranks, paired_interval
from ctxvision.metrics.records import Record
from ctxvision.models import SiameseText
from ctxvision.training.progress import Progress

MOST_PAIRS, MOST_CANDIDATES = 2000, 10000
# A third of a run's training, enough to tell methods apart.
STEPS = 500
CHARACTERS = {"character_ngrams": 32}
# Maps a split to the rank of each test's target, float64 [T].
Ranks = dict[str, np.ndarray]


class AverageText(DualEncoderText):
    """A text encoder without attention: the attention vector stays zero, so all n-grams of a phrase weigh the same."""

    @property
    def trainable_weights(self) -> list[tf.Variable]:
        return [self.ngram_table]


class Method(NamedTuple):
    """The layer of an encoder, its arguments, and whether it learns from queries of all languages."""

    layer: type[DualEncoderText]
    arguments: dict[str, Any]
    all_languages: bool = False


METHODS = {
    "attention": Method(DualEncoderText, {}),
    "average": Method(AverageText, {}),
    "character_ngrams": Method(DualEncoderText, CHARACTERS),
    "language_agnostic": Method(DualEncoderText, CHARACTERS, all_languages=True),
}


class Test(NamedTuple):
    """Retrieval tests.

    Attributes:
        texts: T queries to search with.
        targets: int [T], the candidate to find.
        partners: T arrays of candidates that do not count as rivals.
    """

    texts: list[str]
    targets: np.ndarray
    partners: list[np.ndarray]


def text_encoder(run: Run, progress: Progress, seeds: int) -> list[Record]:
    """Trains each kind of encoder on part of the web pictures, and tests it on queries of the held-out pictures.

    A test pair is two queries of one picture that share no picture in training (see `hold_out`). The first query
    searches for the second among at most 10,000 queries in the run's languages. Other queries that share a picture with
    the first query do not count as rivals. Splits: `held_out`; `misspelt`, with one character of the first query
    changed; `other_languages`, with the first query in a language that the run's filter excludes.

    - `attention`: `DualEncoderText` over words.
    - `average`: the same weight for all n-grams.
    - `character_ngrams`: `attention` with n-grams of characters as well.
    - `language_agnostic`: `character_ngrams`, trained on queries of all languages; the queries of a picture are
      associations across languages.
    - `bag_of_ngrams`: the cosine of counted unigrams and bigrams, without training.

    Each seed trains over the same pairs, for at most 500 steps.

    Returns:
        `recall@1` and `recall@10`, 0..1, and `recall@10_over_attention` with the ends of its 95% interval.

    Raises:
        InputError: no association is left to test on.
    """
    log = run.data.query_log
    held = hold_out(log, run.config.seed)
    spoken = np.isin(log.languages, run.context.languages)
    candidates, tests = make_tests(run, held, spoken)
    methods = [name for name in METHODS if "other_languages" in tests or not METHODS[name].all_languages]
    kept = Kept(run, "text-encoder")
    found: dict[str, list[Ranks]] = {
        "bag_of_ngrams": [kept.arrays("bag_of_ngrams", lambda: _ranks(bag_similarity, candidates, tests))]
    }
    for number, method in enumerate(methods):
        for seed in range(seeds):
            progress.update((number * seeds + seed) / (len(methods) * seeds))

            def measure(method: str = method, seed: int = seed) -> Ranks:
                encoder = _trained(run, METHODS[method], held.trained, spoken, seed)
                return _ranks(
                    lambda texts, others: _embedded(encoder, texts) @ _embedded(encoder, others).T,
                    candidates,
                    tests,
                )

            found.setdefault(method, []).append(kept.arrays(f"{method}-seed{seed}", measure))
    return _records(run, found, len(candidates))


def make_tests(run: Run, held: HeldOut, spoken: np.ndarray) -> tuple[list[str], dict[str, Test]]:
    """Makes the candidates and the tests of each split.

    Args:
        run: its seed draws the misspellings, and the candidates if there are too many.
        held: held-out associations of the run's log.
        spoken: bool [Q], marks queries in the run's languages.

    Raises:
        InputError: no association between queries in the run's languages is left to test on.
    """
    phrases, rng = run.data.query_log.phrases, np.random.default_rng([run.config.seed, 3])
    to_spoken = held.pairs[spoken[held.pairs[:, 1]]]
    among = spoken[to_spoken[:, 0]]
    pairs = {"held_out": to_spoken[among][:MOST_PAIRS], "other_languages": to_spoken[~among][:MOST_PAIRS]}
    if not len(pairs["held_out"]):
        raise InputError(
            f"suite text-encoder needs held-out associations of queries in {', '.join(run.context.languages)}, got "
            "none: give pictures more queries."
        )
    targets = np.unique(np.concatenate([some[:, 1] for some in pairs.values()]))
    others = rng.permutation(np.setdiff1d(np.flatnonzero(spoken), targets))
    rows = np.sort(np.concatenate([targets, others[: max(0, MOST_CANDIDATES - len(targets))]]))
    number_of = np.full(len(phrases), -1)
    number_of[rows] = np.arange(len(rows))

    tests = {}
    for split, some in pairs.items():
        if len(some):
            # A query does not count as its own rival.
            known = [number_of[np.append(held.partners[left], left)] for left in some[:, 0].tolist()]
            partners = [numbers[numbers >= 0] for numbers in known]
            tests[split] = Test([phrases[i] for i in some[:, 0]], number_of[some[:, 1]], partners)
    plain = tests["held_out"]
    tests["misspelt"] = plain._replace(texts=[misspelt(text, rng) for text in plain.texts])
    return [phrases[i] for i in rows], tests


def bag_similarity(texts: list[str], others: list[str]) -> np.ndarray:
    """Computes the cosines of hashed unigram and bigram counts, float32 [T, C]."""
    from scipy.sparse import csr_array, diags_array

    hasher = DualEncoderText(dim=1)
    buckets = hasher.ngram_table.shape[0]

    def counts(texts: list[str]) -> csr_array:
        ids = hasher.ngrams(texts).ids
        rows, places = np.nonzero(ids > 0)
        ones = np.ones(len(rows), np.float32)
        table = csr_array((ones, (rows, ids[rows, places])), shape=(len(texts), buckets))
        lengths = np.sqrt(table.power(2).sum(axis=1))
        return diags_array(1 / np.maximum(lengths, 1)) @ table

    return (counts(texts) @ counts(others).T).toarray()


def _trained(run: Run, method: Method, trained: np.ndarray, spoken: np.ndarray, seed: int) -> DualEncoderText:
    config, log = run.context.config, run.data.query_log
    pairs = trained if method.all_languages else trained & spoken[log.pair_query]
    keras.utils.set_random_seed(seed)
    encoder = method.layer(config.text_dim, **method.arguments)
    untrained = encoder.ngram_table.numpy()
    model = SiameseText(encoder)
    model.compile(keras.optimizers.Adagrad(TEXT_RATE))
    pictures, queries = log.pair_picture[pairs], log.pair_query[pairs]
    ngrams = encoder.ngrams(log.phrases).ids
    steps = min(STEPS, config.text_steps)
    model.fit(association_batches(pictures, queries, ngrams, config.text_batch_size, steps, seed), verbose=0)
    forget_untrained(encoder, untrained)
    return encoder


def _embedded(encoder: DualEncoderText, texts: list[str], size: int = 4096) -> np.ndarray:
    return np.concatenate([encoder(tf.constant(texts[i : i + size])) for i in range(0, len(texts), size)])


def _ranks(
    similarity: Callable[[list[str], list[str]], np.ndarray], candidates: list[str], tests: dict[str, Test]
) -> Ranks:
    return {
        split: filtered_ranks(similarity(test.texts, candidates), test.targets, test.partners)
        for split, test in tests.items()
    }


def _records(run: Run, found: dict[str, list[Ranks]], candidates: int) -> list[Record]:
    records = []

    def add(method: str, split: str, seed: int | None, metric: str, value: float) -> None:
        records.append(
            Record(
                suite="text-encoder",
                data=run.data.name,
                method=method,
                vocabulary=candidates,
                seed=seed,
                split=split,
                metric=metric,
                value=value,
            )
        )

    for method, by_seed in found.items():
        for split in by_seed[0]:
            for seed, ranks in enumerate(by_seed):
                for k in (1, 10):
                    untrained = method == "bag_of_ngrams"
                    add(
                        method,
                        split,
                        None if untrained else seed,
                        f"recall@{k}",
                        float((ranks[split] < k).mean()),
                    )
            if method != "attention":
                near, base = (
                    np.stack([one[split] < 10 for one in some]) for some in (by_seed, found["attention"])
                )
                interval = paired_interval(near.astype(float) - base)
                for end, value in zip(("", "_low", "_high"), interval):
                    add(method, split, None, f"recall@10_over_attention{end}", value)
    return records
