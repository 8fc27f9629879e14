"""Suite `fusion`: the kind of fusion, the number of phrases and their weighting (sections 3.3, 3.5)."""

import bisect
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from ctxvision.classifier.attention_head import train_attention_head
from ctxvision.classifier.run import Run
from ctxvision.classifier.trained_head import Inputs
from ctxvision.context.pooled import nearest_phrases
from ctxvision.evaluation.features import ContextRecipe, Features
from ctxvision.evaluation.heads import Heads, Ranks
from ctxvision.layers import ContextFusion
from ctxvision.metrics.records import Record
from ctxvision.training.progress import Progress

FUSIONS = ("concat", "mlb", "mutan", "pool")
COUNTS = (1, 3, 5, 10)
# The number of phrases in the method.
COUNT = 3
MUTAN_RANK = 5


def fusion(run: Run, progress: Progress, seeds: int) -> list[Record]:
    """Trains multimodal heads that differ in one respect, at the smallest fraction.

    - `concat`, `mlb`, `mutan`: joint heads with the same number of parameters and the context of the run's classifier.
    - `pool`: adds the logits of a head of the picture and a head of the phrases.
    - `uniform@K`: the mean of K phrases under concatenation; left out if the vocabulary has fewer.
    - `uniform`, `similarity`, `attention`: weightings of as many phrases as the run's classifier uses.

    Returns:
        `top1` and `top5`, 0..1, of each head; `parameters` of the four fusions; `top1_over_concat`,
        `top1_over_uniform@3` and `top1_over_uniform` with the ends of their intervals.
    """
    features = Features(run, progress)
    fraction, chosen = min(run.config.fractions), features.chosen
    counts = [k for k in COUNTS if k <= run.context.num_retrievable()]
    heads = Heads(features, "fusion", total=seeds * (len(FUSIONS) + len(counts) + 3))
    found: dict[str, list[Ranks]] = {}

    def measure(method: str, context: ContextRecipe, **fusion: Any) -> None:
        def inputs(split: str) -> list[np.ndarray]:
            return [features.visual(split, fraction), features.context(split, context)]

        # Heads that are equal under two names share one name on disk, so that they are trained once.
        joined = {"fusion": "concat", **fusion}
        own = f"{context.weighting}@{context.k}" if joined["fusion"] == "concat" else method
        found[method] = [heads.ranks(own, inputs, seed, **joined) for seed in range(seeds)]

    dims = [part.shape[1] for part in (features.visual("train", fraction), features.context("train"))]
    arguments = equal_budgets(dims, len(run.data.labels))
    for method, fusion_arguments in arguments.items():
        measure(method, chosen, **fusion_arguments)
    for k in counts:
        measure(f"uniform@{k}", chosen._replace(k=k, weighting="uniform"))
    for weighting in ("uniform", "similarity"):
        measure(weighting, chosen._replace(weighting=weighting))

    @functools.cache
    def phrases(split: str) -> list[np.ndarray]:
        return [
            features.visual(split, fraction),
            *nearest_phrases(run.context, run.query_embeddings(split), chosen.k),
        ]

    def train(run: Run, inputs: Inputs, seed: int) -> keras.Model:
        given = (inputs("train"), run.data.label_ids("train"), len(run.data.labels), run.head_steps)
        return train_attention_head(*given, seed, run.context.phrase_embeddings)

    found["attention"] = [heads.ranks("attention", phrases, seed, train=train) for seed in range(seeds)]

    records = []
    for method, ranks in found.items():
        for seed, one in enumerate(ranks):
            records += heads.accuracy(one, method=method, fraction=fraction, seed=seed)
    gains = [*((f, "concat") for f in FUSIONS), *((f"uniform@{k}", f"uniform@{COUNT}") for k in counts)]
    for method, base in [*gains, ("similarity", "uniform"), ("attention", "uniform")]:
        if method != base and base in found:
            records += heads.gain(found[method], found[base], base, method=method, fraction=fraction)
    for method, fusion_arguments in arguments.items():
        number = num_parameters(dims, num_labels=len(run.data.labels), **fusion_arguments)
        records.append(
            Record(suite="fusion", data=run.data.name, method=method, metric="parameters", value=number)
        )
    return records


def equal_budgets(dims: Sequence[int], num_labels: int) -> dict[str, dict[str, Any]]:
    """Returns the arguments of `ContextFusion` for each fusion; joint heads have about as many parameters as concatenation.

    The rank of MLB is fitted, and the width of MUTAN's stages at rank 5.

    Args:
        dims: widths of the two modalities.
        num_labels: L.
    """
    budget = num_parameters(dims, num_labels=num_labels, fusion="concat")

    def fitted(argument: str, **fixed: Any) -> dict[str, Any]:
        def count(value: int) -> int:
            return num_parameters(dims, num_labels=num_labels, **fixed, **{argument: value})

        return {**fixed, argument: bisect.bisect_left(range(1, 512), budget, key=count) + 1}

    mlb = fitted("rank", fusion="mlb")
    mutan = fitted("hidden", fusion="mutan", rank=MUTAN_RANK)
    return {"concat": {"fusion": "concat"}, "mlb": mlb, "mutan": mutan, "pool": {"fusion": "pool"}}


def num_parameters(dims: Sequence[int], **arguments: Any) -> int:
    """Counts the parameters of `ContextFusion(**arguments)` over modalities of these widths."""
    layer = ContextFusion(**arguments)
    layer([tf.zeros([1, dim]) for dim in dims])
    return layer.count_params()
