"""Stage `visual_only`: tests on `val` whether context helps, and calibrates the picture alone."""

from typing import Any

import numpy as np

from ctxvision._files import read_json, write_json
from ctxvision.classifier.features import pool_inputs
from ctxvision.classifier.head import probabilities_of
from ctxvision.classifier.pool import train_pool
from ctxvision.classifier.run import Run
from ctxvision.classifier.run_folder import RunFolder
from ctxvision.classifier.task import task_of
from ctxvision.classifier.terms import terms_of_run
from ctxvision.errors import InputError
from ctxvision.metrics import Interval
from ctxvision.models import ContextClassifier
from ctxvision.training.progress import Progress

STAGE = "visual_only"
NO_PICTURES = "No labelled picture is left for val, so nothing says whether context helps, nor how sure an answer may be."


def check_context(run: RunFolder, progress: Progress) -> str:
    """Compares heads with and without context on `val`, over the run's seeds, and writes the result.

    The metric is top-1, or mAP under `multi_label`. The stage also keeps the calibration of the visual member alone.

    Returns:
        The result in a sentence, which tells how to switch context off if it is not shown to help, or that `val` has no
        labelled pictures. The stage's `check.json` holds the sentence and the figures.
    """
    data, config, choice, task = run.data, run.config, run.choice, task_of(run.config)
    inputs = {split: pool_inputs(run, split, choice.k, choice.weighting) for split in ("train", "val")}
    terms = terms_of_run(run, inputs["train"])
    train, val = data.label_targets("train"), data.label_targets("val")
    answers: dict[int, list[np.ndarray]] = {1: [], 3: []}  # by the number of modalities
    seeds = range(config.seed, config.seed + config.seeds)
    calibration: dict[str, Any] = {}
    for number, seed in enumerate(seeds):
        progress.update(number / len(seeds))
        for modalities, found in answers.items():
            seen = {split: parts[:modalities] for split, parts in inputs.items()}
            arguments = (train, len(data.labels), run.head_steps, seed, choice.balance)
            head = train_pool(seen["train"], *arguments, terms=terms if modalities == 3 else None)
            fitted = task.calibrate(head, seen["val"], val)
            found.append(probabilities_of(head, seen["val"]))
            if modalities == 1:
                calibration = calibration or fitted
    check: dict[str, Any] = {
        "metric": task.metric,
        **calibration,
        "pictures": len(val),
        "seeds": config.seeds,
    }
    check["sentence"] = NO_PICTURES
    if task.measurable(val):
        visual, multimodal, gain = task.compare(answers[1], answers[3], val)
        check |= {"visual_only": visual, "multimodal": multimodal, "gain": gain._asdict()}
        check["sentence"] = sentence_of(gain, task.title)
    with run.stages.finishing(STAGE) as folder:
        write_json(folder / "check.json", check)
    return check["sentence"]


def without_context(run: Run, backend: str = "ivf", quantize: str | None = None) -> ContextClassifier:
    """Builds the end-to-end model with only its visual member: phrases are found and shown, but decide nothing.

    Args:
        run: a run whose stage `visual_only` is finished.
        backend, quantize: see `Run.build_classifier`.

    Raises:
        InputError: the stage is not finished, or the run has concepts, which are learnt for the whole head.
    """
    check = read_json(run.stages.folder(STAGE) / "check.json")
    if run.concepts():
        names = ", ".join(repr(concept.name) for concept in run.concepts())
        raise InputError(
            f"a run must have no concepts to do without context, got {names}: remove the concepts, or keep context."
        )
    model = run.build_classifier(backend, quantize)
    weights = np.zeros(model.fusion.member_weights.shape)
    weights[0] = check["member_weights"][0]
    model.fusion.member_weights.assign(weights)
    if model.fusion.activation == "softmax":
        model.fusion.uniform_share.assign(check["uniform_share"])
    model.thresholds = check.get("thresholds")
    return model


def sentence_of(gain: Interval, metric: str = "top-1") -> str:
    """Returns the gain on `val` in a sentence that claims no more than its interval, with the action to take."""
    mean, low, high = (f"{100 * value:+.1f}".replace("-", "−") for value in gain)
    switch = "`ctxvision export RUN --to DIR --without-context` switches it off."
    if gain.low > 0:
        return f"On val, context adds {mean} points of {metric} ({low} to {high})."
    if gain.high < 0:
        return f"On val, context costs accuracy: {mean} points of {metric} ({low} to {high}); {switch}"
    return f"On val, no difference by context is shown: {mean} points of {metric} ({low} to {high}); {switch}"
