"""Features of the phrase generator's ConvNet: web pictures as plain pre-training, without words."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from ctxvision.classifier.head import probabilities_of
from ctxvision.classifier.run import Run
from ctxvision.classifier.task import task_of
from ctxvision.classifier.towers import SHARED
from ctxvision.classifier.trained_head import trained_head
from ctxvision.classifier.visual import train_encoder, was_trained
from ctxvision.context.context import Context
from ctxvision.layers import VisualEncoder
from ctxvision.training.cached_features import CachedFeatures
from ctxvision.training.progress import Progress
from ctxvision.training.weights import load_weights

STAGE = "web_features"


class WebFeatures:
    """Features of the phrase generator's ConvNet, frozen or fine-tuned on labelled pictures.

    Fine-tuning uses the labelled pictures and the steps of the visual encoder of the same fraction. `of` returns the
    features that are better on `val`. If the visual encoder is frozen, there is no fine-tuning.

    Args:
        run: a run whose stage `head` is finished.
        progress: shows the suite's progress.
        fine_tune: whether to try fine-tuning.
    """

    def __init__(self, run: Run, progress: Progress, fine_tune: bool = True):
        self._run, self._progress, self._fine_tune = run, progress, fine_tune
        self._cached = CachedFeatures(run.directory / "features", run.data.pictures)
        self._better: dict[float, bool] = {}

    @property
    def possible(self) -> bool:
        """Whether the ConvNet is another than the visual encoder's."""
        return self._run.config.visual_backbone != SHARED

    def of(self, split: str, fraction: float) -> np.ndarray:
        """Returns the features of a split, float32 [N, D]: the better ones for a fraction of the labelled pictures."""
        return self._fine_tuned(split, fraction) if self.fine_tuned(fraction) else self._frozen(split)

    def fine_tuned(self, fraction: float) -> bool:
        """Returns whether the fine-tuned ConvNet is better on `val` than the frozen one."""
        if fraction not in self._better:
            self._better[fraction] = self._fine_tune and self._learns(fraction) and self._is_better(fraction)
        return self._better[fraction]

    def _learns(self, fraction: float) -> bool:
        """Returns whether the visual encoder of the fraction was trained and the ConvNet is trainable."""
        return was_trained(self._run, fraction) and bool(_encoder(self._run).trainable_weights)

    def _is_better(self, fraction: float) -> bool:
        if not task_of(self._run.config).measurable(self._run.data.label_targets("val")):
            return False
        return self._on_val(lambda split: self._fine_tuned(split, fraction)) > self._on_val(self._frozen)

    def _on_val(self, features: Callable[[str], np.ndarray]) -> float:
        """Computes the task's metric of a head over these features on `val`, as the mean over the run's seeds."""
        run = self._run
        heads = (trained_head(run, lambda split: [features(split)], seed) for seed in range(run.config.seeds))
        val, task = run.data.label_targets("val"), task_of(run.config)
        return float(
            np.mean([task.quality(probabilities_of(head, [features("val")]), val) for head in heads])
        )

    def _frozen(self, split: str) -> np.ndarray:
        return self._cached.of("web", lambda: _encoder(self._run), split, shared=True)

    def _fine_tuned(self, split: str, fraction: float) -> np.ndarray:
        name = f"web-fine-tuned-{fraction:g}"
        return self._cached.of(name, lambda: self._trained(fraction), split)

    def _trained(self, fraction: float) -> VisualEncoder:
        run, encoder, stage = self._run, _encoder(self._run), f"{STAGE}/{fraction:g}"
        if not run.stages.is_done(stage):
            train_encoder(run, encoder, stage, fraction, self._progress)
        return load_weights(encoder, run.stages.folder(stage) / "weights.npz")


def _encoder(run: Run) -> VisualEncoder:
    """Returns a copy of the phrase generator's ConvNet."""
    generator = Context(run.context.directory).phrase_generator
    size = generator.tower.input_shape[1] or run.data.image_size
    if isinstance(generator.backbone, str) and Path(generator.backbone).is_dir():
        # The cache knows a SavedModel by its folder, and has its features where the visual encoder is the same one.
        encoder = VisualEncoder(generator.backbone, size, pixels=generator.pixels, name="web_encoder")
    else:
        encoder = VisualEncoder(generator.tower, size, name="web_encoder")
    encoder(tf.zeros([1, size, size, 3]))
    return encoder
