"""Stage `head`: trains the head, and fits the weights of its members on `val` (section 3.5)."""

from typing import Any

import numpy as np

from ctxvision.classifier.choice import STAGE, Choice, write_choice
from ctxvision.classifier.config import Config
from ctxvision.classifier.features import pool_inputs
from ctxvision.classifier.head import probabilities_of
from ctxvision.classifier.pool import train_pool
from ctxvision.classifier.run_folder import RunFolder
from ctxvision.classifier.task import task_of
from ctxvision.classifier.terms import terms_of_run
from ctxvision.context.context import Context
from ctxvision.errors import InputError
from ctxvision.layers import PrototypeRetrieval
from ctxvision.training.progress import Progress
from ctxvision.training.weights import save_weights

# Recall of the k nearest phrases by the approximate search of the end-to-end model.
RECALL = 0.99
MOST_TUNING_QUERIES = 1000
# Default number of phrases in a picture's context, weighted by similarity. Among three, ten and twenty phrases, plain
# or weighted, no other choice had a higher likelihood in a pool on `val`, in two splits of the demo and in photographs.
PHRASES = 10

# Maps a split to its features, one array per modality: visual, context, query embedding.
Inputs = dict[str, list[np.ndarray]]


def train_classifier(run: RunFolder, progress: Progress) -> None:
    """Trains the head of the end-to-end model, and fits the weights of its members on `val`.

    For several labels per picture, `val` also chooses the balance of the loss by mAP, see `train_head`, and fits
    thresholds.
    """
    data, config, task = run.data, run.config, task_of(run.config)
    k, weighting = context_of(run)
    tuning = _tuned(run, k)
    inputs = {split: pool_inputs(run, split, k, weighting) for split in ("train", "val")}
    balance, tried = task.balances[0], {}
    if len(task.balances) > 1 and task.measurable(data.label_targets("val")):
        for number, one in enumerate(task.balances):
            progress.update(number / len(task.balances))
            tried[one] = _quality_on_val(run, inputs, one)
        balance = max(tried, key=lambda one: tried[one])
    terms = terms_of_run(run, inputs["train"])
    arguments = (data.label_targets("train"), len(data.labels), run.head_steps, config.seed, balance)
    head = train_pool(inputs["train"], *arguments, terms=terms)
    calibration = task.calibrate(head, inputs["val"], data.label_targets("val"))
    most_terms = terms.places.shape[1]
    with run.stages.finishing(STAGE) as folder:
        save_weights(head, folder / "weights.npz")
        chosen = (k, weighting, balance, data.labels, tuning)
        choice = Choice(*chosen, terms=most_terms, balances=tried or None, **calibration)
        write_choice(folder, choice)


def context_of(run: RunFolder) -> tuple[int, str]:
    """Returns the number of phrases in a picture's context and their weighting; raises as `check_vocabulary` does."""
    check_vocabulary(run.context, run.config)
    asked = run.config.context_phrases
    return (asked, "uniform") if asked else (min(PHRASES, run.context.num_retrievable()), "similarity")


def check_vocabulary(context: Context, config: Config) -> None:
    """Raises an InputError if a context has too few phrases for a picture's context.

    Args:
        context: the context with the run's language filter.
        config: settings of the run.
    """
    found, least = context.num_retrievable(), config.context_phrases or 1
    if found < least:
        raise InputError(
            f"the vocabulary must have at least {least} phrases for context, got {found} in "
            f"{', '.join(context.languages)} with {context.config.min_phrase_count} pictures or more: use other "
            f"languages, or a context with more phrases."
        )


def _tuned(run: RunFolder, k: int) -> dict[str, Any]:
    """Tunes the fastest approximate search with a recall of `RECALL` on `val`, else `train`; returns its figures."""
    retrieval = PrototypeRetrieval(k, "ivf")
    split = "val" if len(run.data.split("val")) else "train"
    queries = run.query_embeddings(split)[:MOST_TUNING_QUERIES]
    retrieval.tune(run.context.phrase_table, RECALL, k, queries, **run.context.retrievable)
    assert retrieval.tuning is not None
    return retrieval.tuning


def _quality_on_val(run: RunFolder, inputs: Inputs, balance: str) -> float:
    """Returns the task's metric on `val` for a pool of picture and phrases, averaged over the run's seeds."""
    data, config, task = run.data, run.config, task_of(run.config)
    train, val = data.label_targets("train"), data.label_targets("val")
    both = {split: parts[:2] for split, parts in inputs.items()}
    found = []
    for seed in range(config.seeds):
        head = train_pool(both["train"], train, len(data.labels), run.head_steps, seed, balance)
        task.calibrate(head, both["val"], val)
        found.append(task.quality(probabilities_of(head, both["val"]), val))
    return float(np.mean(found))
