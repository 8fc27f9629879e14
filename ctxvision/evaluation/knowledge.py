"""Suite `knowledge`: the information of phrases beyond the names of the labels."""

import functools

import numpy as np

from ctxvision.classifier.run import Run
from ctxvision.errors import InputError
from ctxvision.evaluation.features import LABEL_WORDS, NO_LABEL_WORDS, Features
from ctxvision.evaluation.heads import Heads
from ctxvision.layers.context_fusion import STAGES
from ctxvision.metrics.records import Record
from ctxvision.training.progress import Progress

VOCABULARIES = {"multimodal_no_label_words": NO_LABEL_WORDS, "label_words_only": LABEL_WORDS}
METHODS = ("visual_only", "multimodal", *VOCABULARIES, "text_only", "oracle")


def knowledge(run: Run, progress: Progress, seeds: int) -> list[Record]:
    """Trains a head for each kind of context, at the smallest fraction.

    - `multimodal`: here a pool of picture and phrases, without the query embedding and the labels' terms.
    - `multimodal_no_label_words`: `multimodal` without phrases that hold a word of a label's name or synset terms.
    - `label_words_only`: `multimodal` with only the phrases that hold such a word. Both are left out if too few phrases
      remain.
    - `oracle`: `multimodal` with the picture's true queries instead of predicted phrases, in training and test; the
      upper bound for better predictions. It needs queries of the pictures of `train` and of every test split, because
      queries of the picture's label would tell the head the answer.

    Returns:
        `top1` and `top5`, 0..1, of each head, and `top1_over_visual_only` of each method with the ends of its
        interval.
    """
    features = Features(run, progress)
    fraction = min(run.config.fractions)
    methods = methods_of(features)
    heads = Heads(features, "knowledge", total=len(methods) * seeds)
    oracle = functools.cache(functools.partial(true_context, run))

    def inputs_of(method: str, split: str) -> list[np.ndarray]:
        visual = [] if method == "text_only" else [features.visual(split, fraction)]
        if method == "visual_only":
            return visual
        if method == "oracle":
            return [*visual, oracle(split)]
        vocabulary = VOCABULARIES.get(method, features.chosen.vocabulary)
        return [*visual, features.context(split, features.chosen._replace(vocabulary=vocabulary))]

    found, records = {}, []
    for method in methods:
        inputs = functools.partial(inputs_of, method)
        stages = [STAGES["context"]] if method == "text_only" else None
        found[method] = [heads.ranks(method, inputs, seed, stages=stages) for seed in range(seeds)]
        keys = {"method": method, "fraction": fraction}
        for seed, ranks in enumerate(found[method]):
            records += heads.accuracy(ranks, seed=seed, **keys)
        if method != "visual_only":
            records += heads.gain(found[method], found["visual_only"], "visual_only", **keys)
    return records


def methods_of(features: Features) -> list[str]:
    """Returns the methods that the run's phrases and queries allow, in the order of `METHODS`."""
    run = features.run
    left_out = []
    for method, vocabulary in VOCABULARIES.items():
        table = features.table(vocabulary)
        if table is None or run.context.num_retrievable(table) < features.chosen.k:
            left_out.append(method)
    if not all(any(run.data.split(split).queries) for split in ("train", *run.data.test_splits)):
        left_out.append("oracle")
    return [method for method in METHODS if method not in left_out]


def true_context(run: Run, split: str) -> np.ndarray:
    """Returns the mean text embedding of each picture's queries in the run's languages, float32 [N, 200].

    A picture without queries has zeros, as in `ContextPooling`.

    Raises:
        InputError: no picture of the split has queries.
    """
    rows = [
        [query.text for query in queries if query.language in run.context.languages]
        for queries in run.data.split(split).queries
    ]
    texts = sorted({text for row in rows for text in row})
    if not texts:
        raise InputError(
            f"the oracle needs queries of the pictures of {split}, got none in {', '.join(run.context.languages)}: "
            "add them to images.csv."
        )
    embeddings, number = run.context.embed_texts(texts), {text: i for i, text in enumerate(texts)}
    context = np.zeros([len(rows), embeddings.shape[1]], np.float32)
    for i, row in enumerate(rows):
        if row:
            context[i] = embeddings[[number[text] for text in row]].mean(axis=0)
    return context
