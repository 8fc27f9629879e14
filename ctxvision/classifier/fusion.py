"""Stage `head`: chooses how phrases become context on `val`, then trains the head (section 3.5)."""

from typing import Any

import numpy as np
import tf_keras as keras

from ctxvision.classifier.calibration import calibrated, fit_calibration, fold_calibration
from ctxvision.classifier.choice import STAGE, Choice, write_choice
from ctxvision.classifier.features import context_vectors
from ctxvision.classifier.head import BALANCES, probabilities_of, train_head
from ctxvision.classifier.run_folder import RunFolder
from ctxvision.classifier.thresholds import PRECISION, fit_thresholds
from ctxvision.errors import InputError
from ctxvision.layers import PrototypeRetrieval
from ctxvision.metrics import expected_calibration_error, mean_average_precision, top_k_accuracy
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
    metric = "map" if config.multi_label else "top1"
    balances = BALANCES if config.multi_label else BALANCES[:1]
    trials = iter(np.linspace(0, 1, len(balances) + len(choices), endpoint=False))

    def words(choice: tuple[int, str]) -> Inputs:
        return {split: [context_vectors(run, split, *choice)] for split in visual}

    def both(choice: tuple[int, str]) -> Inputs:
        return {split: [visual[split], *context] for split, context in words(choice).items()}

    def on_val(inputs: Inputs, balance: str) -> float:
        progress.update(next(trials))
        return _quality_on_val(run, inputs, balance)

    balance, tried = balances[0], []
    if config.multi_label:
        inputs = both(choices[0])
        gained = [on_val(inputs, one) for one in balances]
        balance = balances[int(np.argmax(gained))]
        tried = [{"balance": one, "val_map_multimodal": quality} for one, quality in zip(balances, gained)]
    qualities = [on_val(words(choice), balance) for choice in choices]
    k, weighting = choices[int(np.argmax(qualities))]

    tuning, features = _tuned(run, k), both((k, weighting))
    targets, num_labels = data.label_targets("train"), len(data.labels)
    head = train_head(features["train"], targets, num_labels, config.head_steps, config.seed, balance)
    calibration = calibrate(head, features["val"], data.label_targets("val"))
    rows = [{"k": c[0], "weighting": c[1], f"val_{metric}_text_only": q} for c, q in zip(choices, qualities)]
    with run.stages.finishing(STAGE) as folder:
        save_weights(head.get_layer("context_fusion"), folder / "weights.npz")
        choice = Choice(k, weighting, balance, data.labels, tuning, **calibration, tried=[*tried, *rows])
        write_choice(folder, choice)


def calibrate(head: keras.Model, features: list[np.ndarray], targets: np.ndarray) -> dict[str, Any]:
    """Makes what a head says of pictures that it was not trained on come true.

    Args:
        head: of `train_head`; a head of one label a picture is changed: what it says is calibrated from then on.
        features, targets: of `val`, as of `train_head`.

    Returns:
        `temperature`, `uniform_share`, `val_ece_uncalibrated` and `val_ece`; or, of several labels a picture, the list
        `thresholds`, their `precision` and `val_ece`.
    """
    probabilities = probabilities_of(head, features)
    if targets.ndim == 2:
        thresholds = fit_thresholds(probabilities, targets).tolist()
        ece = expected_calibration_error(probabilities, targets)
        return {"thresholds": thresholds, "precision": PRECISION, "val_ece": ece}
    calibration = fit_calibration(probabilities, targets)
    fold_calibration(head.get_layer("context_fusion"), calibration)
    before, after = (
        expected_calibration_error(found.max(axis=1), found.argmax(axis=1) == targets)
        for found in (probabilities, calibrated(probabilities, calibration))
    )
    return {**calibration._asdict(), "val_ece_uncalibrated": before, "val_ece": after}


def _tuned(run: RunFolder, k: int) -> dict[str, Any]:
    """What the quickest approximate search that hardly differs from the exact one was measured to be, on `val`."""
    retrieval = PrototypeRetrieval(k, "ivf")
    queries = run.query_embeddings("val")[:MOST_TUNING_QUERIES]
    retrieval.tune(run.context.phrase_table, RECALL, k, queries, **run.context.retrievable)
    assert retrieval.tuning is not None
    return retrieval.tuning


def _quality_on_val(run: RunFolder, inputs: Inputs, balance: str) -> float:
    """Top-1 or mAP on `val` of a head over these inputs, mean over the run's seeds."""
    data, config = run.data, run.config
    train, val = data.label_targets("train"), data.label_targets("val")
    found = []
    for seed in range(config.seeds):
        head = train_head(inputs["train"], train, len(data.labels), config.head_steps, seed, balance)
        probabilities = probabilities_of(head, inputs["val"])
        if config.multi_label:
            found.append(mean_average_precision(probabilities, val))
        else:
            found.append(top_k_accuracy(probabilities, val, 1))
    return float(np.mean(found))
