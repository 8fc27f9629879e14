"""Stage `head`: chooses how phrases become context on `val`, then trains the head (section 3.5)."""

from typing import Any

import numpy as np

from ctxvision.classifier.choice import STAGE, Choice, write_choice
from ctxvision.classifier.features import context_vectors
from ctxvision.classifier.head import probabilities_of, train_head
from ctxvision.classifier.run_folder import RunFolder
from ctxvision.classifier.task import task_of
from ctxvision.errors import InputError
from ctxvision.layers import PrototypeRetrieval
from ctxvision.training.progress import Progress
from ctxvision.training.weights import save_weights

# Of the k nearest phrases, by the approximate search of the end-to-end model.
RECALL = 0.99
MOST_TUNING_QUERIES = 1000
# Phrases a picture and their weighting: the method's plain average of three, and longer weighted lists.
CHOICES = ((3, "uniform"), (10, "uniform"), (10, "similarity"), (20, "similarity"))

# A split's name to its features, one array a modality.
Inputs = dict[str, list[np.ndarray]]


def train_classifier(run: RunFolder, progress: Progress) -> None:
    """Trains the head of the end-to-end model; among `CHOICES` the one whose text alone is best on `val` wins.

    Best is top-1, under `multi_label` mAP; by that the loss's balance is chosen there too, see `train_head`. Then
    `val` calibrates the head: by a temperature and a uniform share, or by thresholds.
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
    visual = {split: run.visual_features(split, max(config.fractions)) for split in ("train", "val")}
    task = task_of(config)
    trials = iter(np.linspace(0, 1, len(task.balances) + len(choices), endpoint=False))

    def words(choice: tuple[int, str]) -> Inputs:
        return {split: [context_vectors(run, split, *choice)] for split in visual}

    def both(choice: tuple[int, str]) -> Inputs:
        return {split: [visual[split], *context] for split, context in words(choice).items()}

    def on_val(inputs: Inputs, balance: str) -> float:
        progress.update(next(trials))
        return _quality_on_val(run, inputs, balance)

    balance, tried = task.balances[0], []
    if len(task.balances) > 1:
        inputs = both(choices[0])
        gained = [on_val(inputs, one) for one in task.balances]
        balance = task.balances[int(np.argmax(gained))]
        tried = [
            {"balance": one, f"val_{task.metric}_multimodal": q} for one, q in zip(task.balances, gained)
        ]
    qualities = [on_val(words(choice), balance) for choice in choices]
    k, weighting = choices[int(np.argmax(qualities))]

    tuning, features = _tuned(run, k), both((k, weighting))
    targets, num_labels = data.label_targets("train"), len(data.labels)
    head = train_head(features["train"], targets, num_labels, config.head_steps, config.seed, balance)
    calibration = task.calibrate(head, features["val"], data.label_targets("val"))
    rows = [
        {"k": c[0], "weighting": c[1], f"val_{task.metric}_text_only": q} for c, q in zip(choices, qualities)
    ]
    with run.stages.finishing(STAGE) as folder:
        save_weights(head.get_layer("context_fusion"), folder / "weights.npz")
        choice = Choice(k, weighting, balance, data.labels, tuning, **calibration, tried=[*tried, *rows])
        write_choice(folder, choice)


def _tuned(run: RunFolder, k: int) -> dict[str, Any]:
    """What the quickest approximate search that hardly differs from the exact one was measured to be, on `val`."""
    retrieval = PrototypeRetrieval(k, "ivf")
    queries = run.query_embeddings("val")[:MOST_TUNING_QUERIES]
    retrieval.tune(run.context.phrase_table, RECALL, k, queries, **run.context.retrievable)
    assert retrieval.tuning is not None
    return retrieval.tuning


def _quality_on_val(run: RunFolder, inputs: Inputs, balance: str) -> float:
    """The task's metric on `val` of a head over these inputs, mean over the run's seeds."""
    data, config = run.data, run.config
    train, val = data.label_targets("train"), data.label_targets("val")
    found = []
    for seed in range(config.seeds):
        head = train_head(inputs["train"], train, len(data.labels), config.head_steps, seed, balance)
        found.append(task_of(config).quality(probabilities_of(head, inputs["val"]), val))
    return float(np.mean(found))
