"""Stage `visual_only`: does context help on `val`, and a head that does without it."""

from typing import Any

import numpy as np
import tensorflow as tf

from ctxvision._files import read_json, write_json
from ctxvision.classifier.features import context_vectors
from ctxvision.classifier.head import probabilities_of, train_head
from ctxvision.classifier.run import Run
from ctxvision.classifier.run_folder import RunFolder
from ctxvision.classifier.task import task_of
from ctxvision.errors import InputError
from ctxvision.layers import ContextFusion
from ctxvision.metrics import Interval
from ctxvision.models import ContextClassifier
from ctxvision.training.progress import Progress
from ctxvision.training.weights import load_weights, save_weights

STAGE = "visual_only"


def check_context(run: RunFolder, progress: Progress) -> str:
    """Compares heads with and without context on `val`, over the run's seeds, and keeps a visual-only one.

    They are compared by top-1, under `multi_label` by mAP.

    Returns:
        What was found, in a sentence; where context is not shown to help, with the way to switch it off. It is in
        the stage's `check.json` as well, with the numbers.
    """
    data, config = run.data, run.config
    choice = run.choice
    features: dict[str, list[np.ndarray]] = {}
    for split in ("train", "val"):
        context = context_vectors(run, split, choice.k, choice.weighting)
        features[split] = [run.visual_features(split, max(config.fractions)), context]
    train, val = data.label_targets("train"), data.label_targets("val")
    answers: dict[int, list[np.ndarray]] = {1: [], 2: []}  # by the number of modalities
    seeds = range(config.seed, config.seed + config.seeds)
    heads = []
    for number, seed in enumerate(seeds):
        progress.update(number / len(seeds))
        for modalities, found in answers.items():
            head = train_head(
                features["train"][:modalities],
                train,
                len(data.labels),
                config.head_steps,
                seed,
                choice.balance,
            )
            found.append(probabilities_of(head, features["val"][:modalities]))
            if modalities == 1:
                heads.append(head)
    task = task_of(config)
    visual, multimodal, gain = task.compare(answers[1], answers[2], val)
    sentence = sentence_of(gain, task.title)
    calibration = task.calibrate(heads[0], features["val"][:1], val)
    with run.stages.finishing(STAGE) as folder:
        off = with_idle_context(heads[0].get_layer("context_fusion"), run.context.config.text_dim)
        save_weights(off, folder / "weights.npz")
        check: dict[str, Any] = {"metric": task.metric, **calibration}
        check |= {"pictures": len(val), "seeds": config.seeds}
        check |= {
            "visual_only": visual,
            "multimodal": multimodal,
            "gain": gain._asdict(),
            "sentence": sentence,
        }
        write_json(folder / "check.json", check)
    return sentence


def without_context(run: Run, backend: str = "ivf", quantize: str | None = None) -> ContextClassifier:
    """The end-to-end model with the visual-only head: phrases are still found and shown, but decide nothing.

    Args:
        run: past its stage `visual_only`.
        backend, quantize: see `Run.build_classifier`.

    Raises:
        InputError: the run has no stage `visual_only`, or concepts, which this head has not learnt.
    """
    stored = run.stages.folder(STAGE)
    if run.concepts():
        names = ", ".join(repr(concept.name) for concept in run.concepts())
        raise InputError(
            f"a run must have no concepts to do without context, got {names}: remove them, or keep context."
        )
    model = run.build_classifier(backend, quantize)
    fusion = ContextFusion(len(model.labels), activation=model.fusion.activation, name="context_fusion")
    parts = (model.phrase_generator, model.retrieval, model.phrase_embeddings, model.visual_encoder)
    thresholds = read_json(stored / "check.json").get("thresholds")
    off = ContextClassifier(*parts, fusion, model.labels, model.pooling, thresholds, model.text)
    load_weights(fusion, stored / "weights.npz")
    return off


def with_idle_context(visual: ContextFusion, context_dim: int) -> ContextFusion:
    """A head of [visual, context] that answers as the visual-only one whatever the context, whose weights are 0.

    Args:
        visual: built on one modality, `fusion="concat"`.
        context_dim: width of the context.
    """
    head = ContextFusion.from_config(visual.get_config())
    head([visual.average_input(0)[tf.newaxis], tf.zeros([1, context_dim])])
    head.standardize[0].set_weights(visual.standardize[0].get_weights())
    head.stage_1[0].set_weights(visual.stage_1[0].get_weights())
    kernel, bias = visual.stage_2.get_weights()
    idle = np.zeros((visual.hidden, visual.hidden), np.float32)
    head.stage_1[1].set_weights([np.zeros((context_dim, visual.hidden)), np.zeros(visual.hidden)])
    head.stage_2.set_weights([np.concatenate([kernel, idle]), bias])
    head.output_stage.set_weights(visual.output_stage.get_weights())
    if head.activation == "softmax":
        head.uniform_share.assign(visual.uniform_share)
    return head


def sentence_of(gain: Interval, metric: str = "top-1") -> str:
    """What the gain on `val` says, no stronger than its interval, and what to do."""
    mean, low, high = (f"{100 * value:+.1f}".replace("-", "−") for value in gain)
    switch = "`ctxvision export RUN --to DIR --without-context` switches it off."
    if gain.low > 0:
        return f"On val, context adds {mean} points of {metric} ({low} to {high})."
    if gain.high < 0:
        return f"On val, context costs accuracy: {mean} points of {metric} ({low} to {high}); {switch}"
    return f"On val, no difference by context is shown: {mean} points of {metric} ({low} to {high}); {switch}"
