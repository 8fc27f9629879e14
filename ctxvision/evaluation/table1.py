"""Suite `table1`: what context adds, at several qualities of the visual embedding (Table 1)."""

from collections.abc import Sequence

import numpy as np

from ctxvision.classifier.run import Run
from ctxvision.evaluation.features import NO_LABEL_WORDS, Features, shuffled
from ctxvision.evaluation.heads import Heads, Ranks
from ctxvision.metrics.records import Record
from ctxvision.training.progress import Progress

FRACTIONS = (0.1, 0.3, 0.5, 0.7, 1.0)
METHODS = ("visual_only", "text_only", "multimodal", "shuffled_phrases", "multimodal_no_label_words")


def table1(run: Run, progress: Progress, seeds: int, fractions: Sequence[float] = FRACTIONS) -> list[Record]:
    """Trains a head for each method, fraction and seed on `train`, and measures it on every test split.

    `shuffled_phrases` is the control: the multimodal model, but each picture gets the context of another one, in
    training and in test. `multimodal_no_label_words` leaves out every phrase that holds a word of a label's name
    or synset terms; it is not there where too few phrases are left.

    Returns:
        `top1` and `top5`, 0..1, of each head; of each method `top1_over_visual_only` with the ends of its interval.
    """
    features = Features(run, progress)
    methods = methods_of(features)
    heads = Heads(features, "table1", total=len(fractions) * seeds * len(methods))
    records = []
    for fraction in fractions:
        found: dict[str, list[Ranks]] = {}
        for method in methods:
            # What sees no picture is the same at every fraction.
            name = method if method == "text_only" else f"{method}-{fraction:g}"
            for seed in range(seeds):

                def inputs(
                    split: str, method: str = method, fraction: float = fraction, seed: int = seed
                ) -> list[np.ndarray]:
                    return inputs_of(features, method, split, fraction, seed)

                ranks = heads.ranks(name, inputs, seed)
                found.setdefault(method, []).append(ranks)
                records += heads.accuracy(ranks, method=method, fraction=fraction, seed=seed)
            if method != "visual_only":
                base = found["visual_only"]
                records += heads.gain(found[method], base, "visual_only", method=method, fraction=fraction)
    return records


def methods_of(features: Features) -> tuple[str, ...]:
    """All of `METHODS`, the last one where enough phrases are left without label words."""
    plain = features.table(NO_LABEL_WORDS)
    enough = plain is not None and features.run.context.num_retrievable(plain) >= features.chosen.k
    return METHODS if enough else METHODS[:-1]


def inputs_of(features: Features, method: str, split: str, fraction: float, seed: int) -> list[np.ndarray]:
    """What a method's head is given of a split, one array a modality."""
    if method == "visual_only":
        return [features.visual(split, fraction)]
    if method == "text_only":
        return [features.context(split)]
    if method == "multimodal_no_label_words":
        plain = features.chosen._replace(vocabulary=NO_LABEL_WORDS)
        return [features.visual(split, fraction), features.context(split, plain)]
    context = features.context(split)
    if method == "shuffled_phrases":
        context = shuffled(context, split, seed)
    return [features.visual(split, fraction), context]
