"""Stage `head`: chooses how phrases become context on `val`, then trains the head (section 3.5)."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ctxvision.classifier.choice import STAGE, Choice, write_choice
from ctxvision.classifier.features import pool_inputs
from ctxvision.classifier.head import probabilities_of
from ctxvision.classifier.pool import train_pool
from ctxvision.classifier.run_folder import RunFolder
from ctxvision.classifier.task import task_of
from ctxvision.classifier.terms import terms_of_run
from ctxvision.errors import InputError
from ctxvision.layers import PrototypeRetrieval
from ctxvision.layers.context_fusion import STAGES
from ctxvision.training.progress import Progress
from ctxvision.training.weights import save_weights

# Of the k nearest phrases, by the approximate search of the end-to-end model.
RECALL = 0.99
MOST_TUNING_QUERIES = 1000
# Phrases a picture and their weighting: the method's plain average of three, and longer weighted lists.
CHOICES = ((3, "uniform"), (10, "uniform"), (10, "similarity"), (20, "similarity"))

# A split's name to its features, one array a modality: visual, context, query embedding.
Inputs = dict[str, list[np.ndarray]]


def train_classifier(run: RunFolder, progress: Progress) -> None:
    """Trains the head of the end-to-end model; among `CHOICES` the one whose text alone is best on `val` wins.

    Best is top-1, under `multi_label` mAP; by that the loss's balance is chosen there too, see `train_head`. Then `val`
    says how much each member of the head counts, and gives several labels a picture their thresholds.
    """
    data, config = run.data, run.config
    found = run.context.num_retrievable()
    wanted = ((config.context_phrases, "uniform"),) if config.context_phrases else CHOICES
    choices = [choice for choice in wanted if choice[0] <= found]
    if not choices:
        raise InputError(
            f"the vocabulary must have at least {wanted[0][0]} phrases for context, got {found} in "
            f"{', '.join(run.context.languages)} with {run.context.config.min_phrase_count} pictures or more: use other "
            f"languages, or a context of more phrases."
        )
    task = task_of(config)
    trials = iter(np.linspace(0, 1, len(task.balances) + len(choices), endpoint=False))

    def inputs_of(choice: tuple[int, str]) -> Inputs:
        return {split: pool_inputs(run, split, *choice) for split in ("train", "val")}

    def on_val(inputs: Inputs, balance: str, stages: Sequence[int] | None = None) -> float:
        progress.update(next(trials))
        return _quality_on_val(run, inputs, balance, stages)

    balance, tried = task.balances[0], []
    if len(task.balances) > 1:
        both = {split: parts[:2] for split, parts in inputs_of(choices[0]).items()}
        gained = [on_val(both, one) for one in task.balances]
        balance = task.balances[int(np.argmax(gained))]
        tried = [
            {"balance": one, f"val_{task.metric}_multimodal": q} for one, q in zip(task.balances, gained)
        ]
    words = [{split: parts[1:2] for split, parts in inputs_of(choice).items()} for choice in choices]
    qualities = [on_val(inputs, balance, [STAGES["context"]]) for inputs in words]
    k, weighting = choices[int(np.argmax(qualities))]
    tried += [
        {"k": c[0], "weighting": c[1], f"val_{task.metric}_text_only": q} for c, q in zip(choices, qualities)
    ]

    tuning = _tuned(run, k)
    inputs = inputs_of((k, weighting))
    terms = terms_of_run(run, inputs["train"])
    arguments = (data.label_targets("train"), len(data.labels), config.head_steps, config.seed, balance)
    head = train_pool(inputs["train"], *arguments, terms=terms)
    calibration = task.calibrate(head, inputs["val"], data.label_targets("val"))
    most_terms = terms.places.shape[1]
    with run.stages.finishing(STAGE) as folder:
        save_weights(head.get_layer("context_fusion"), folder / "weights.npz")
        choice = Choice(
            k, weighting, balance, data.labels, tuning, terms=most_terms, tried=tried, **calibration
        )
        write_choice(folder, choice)


def _tuned(run: RunFolder, k: int) -> dict[str, Any]:
    """What the quickest approximate search that hardly differs from the exact one was measured to be, on `val`."""
    retrieval = PrototypeRetrieval(k, "ivf")
    queries = run.query_embeddings("val")[:MOST_TUNING_QUERIES]
    retrieval.tune(run.context.phrase_table, RECALL, k, queries, **run.context.retrievable)
    assert retrieval.tuning is not None
    return retrieval.tuning


def _quality_on_val(run: RunFolder, inputs: Inputs, balance: str, stages: Sequence[int] | None) -> float:
    """The task's metric on `val` of a pool over these inputs, mean over the run's seeds."""
    data, config, task = run.data, run.config, task_of(run.config)
    train, val = data.label_targets("train"), data.label_targets("val")
    found = []
    for seed in range(config.seeds):
        arguments = (train, len(data.labels), config.head_steps, seed, balance)
        head = train_pool(inputs["train"], *arguments, stages=stages)
        task.calibrate(head, inputs["val"], val)
        found.append(task.quality(probabilities_of(head, inputs["val"]), val))
    return float(np.mean(found))
