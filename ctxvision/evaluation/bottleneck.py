"""Suite `bottleneck`: the gain of words beside the query embedding that found them (section 4.4)."""

import functools

import numpy as np

from ctxvision.classifier.run import Run
from ctxvision.evaluation.features import Features
from ctxvision.evaluation.heads import Heads
from ctxvision.layers.context_fusion import STAGES
from ctxvision.metrics.records import Record
from ctxvision.training.progress import Progress

FRACTION = 0.2
METHODS = ("visual_only", "visual_text", "visual_bottleneck", "visual_text_bottleneck")
# Pairs of a method and its base.
GAINS = (
    ("visual_text", "visual_only"),
    ("visual_bottleneck", "visual_only"),
    ("visual_text_bottleneck", "visual_only"),
    ("visual_text_bottleneck", "visual_bottleneck"),
    ("visual_text_bottleneck", "visual_text"),
    ("visual_text", "visual_bottleneck"),
)


def bottleneck(run: Run, progress: Progress, seeds: int) -> list[Record]:
    """Trains pools over visual features, context and the 64-d bottleneck, with 20% of visual pre-training.

    `visual_text` is the multimodal model; `visual_text_bottleneck` gets all three inputs.

    Returns:
        `top1` and `top5`, 0..1, of each head, and `top1_over_BASE` with the ends of its interval for each pair of
        `GAINS`.
    """
    features = Features(run, progress)
    heads = Heads(features, "bottleneck", total=len(METHODS) * seeds)
    found, records = {}, []
    for method in METHODS:
        inputs, stages = functools.partial(_inputs_of, features, method), _stages_of(method)
        found[method] = [heads.ranks(method, inputs, seed, stages=stages) for seed in range(seeds)]
        for seed, ranks in enumerate(found[method]):
            records += heads.accuracy(ranks, method=method, fraction=FRACTION, seed=seed)
    for method, base in GAINS:
        records += heads.gain(found[method], found[base], base, method=method, fraction=FRACTION)
    return records


def _stages_of(method: str) -> list[int]:
    there = {"visual": True, "context": "text" in method, "query": "bottleneck" in method}
    return [STAGES[name] for name, has in there.items() if has]


def _inputs_of(features: Features, method: str, split: str) -> list[np.ndarray]:
    inputs = [features.visual(split, FRACTION)]
    if "text" in method:
        inputs.append(features.context(split))
    if "bottleneck" in method:
        inputs.append(features.bottleneck(split))
    return inputs
