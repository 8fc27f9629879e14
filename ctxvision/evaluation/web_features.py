"""The pictures of the web as plain pre-training: the phrase generator's ConvNet under a label head, without words."""

import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from ctxvision.classifier.head import probabilities_of
from ctxvision.classifier.run import Run
from ctxvision.classifier.task import task_of
from ctxvision.classifier.towers import SHARED
from ctxvision.classifier.trained_head import trained_head
from ctxvision.classifier.visual import train_encoder
from ctxvision.context.context import Context
from ctxvision.layers import VisualEncoder
from ctxvision.training.cached_features import CachedFeatures
from ctxvision.training.progress import Progress
from ctxvision.training.weights import load_weights

STAGE = "web_features"


class WebFeatures:
    """Features of the phrase generator's ConvNet: as queries have trained it, or fine-tuned on all labelled pictures.

    The better one on `val` is taken. Fine-tuning takes as long as the training of the visual encoder; where that one is
    frozen, so is this.

    Args:
        run: past its stage `head`.
        progress: of the suite.
        fine_tune: whether fine-tuning is tried.
    """

    def __init__(self, run: Run, progress: Progress, fine_tune: bool = True):
        self._run, self._progress, self._fine_tune = run, progress, fine_tune
        self._cached = CachedFeatures(run.directory / "features", run.data.pictures)

    @property
    def possible(self) -> bool:
        """Whether they are not the visual features already."""
        return self._run.config.visual_backbone != SHARED

    def of(self, split: str) -> np.ndarray:
        """float32 [N, D] of a split, by the better of the two."""
        return self._fine_tuned(split) if self.fine_tuned else self._frozen(split)

    @functools.cached_property
    def fine_tuned(self) -> bool:
        """Whether they are those of the fine-tuned ConvNet."""
        run = self._run
        if not self._fine_tune:
            return False
        learns = run.stages.facts(f"visual/{max(run.config.fractions):g}")["steps"] > 0
        if not learns or not _encoder(run).trainable_weights:
            return False
        return self._on_val(self._fine_tuned) > self._on_val(self._frozen)

    def _on_val(self, features: Callable[[str], np.ndarray]) -> float:
        """The task's metric of a head over these features, mean over the run's seeds."""
        run = self._run
        heads = (trained_head(run, lambda split: [features(split)], seed) for seed in range(run.config.seeds))
        val, task = run.data.label_targets("val"), task_of(run.config)
        return float(
            np.mean([task.quality(probabilities_of(head, [features("val")]), val) for head in heads])
        )

    def _frozen(self, split: str) -> np.ndarray:
        return self._cached.of("web", lambda: _encoder(self._run), split, shared=True)

    def _fine_tuned(self, split: str) -> np.ndarray:
        return self._cached.of("web-fine-tuned", self._trained, split)

    def _trained(self) -> VisualEncoder:
        run, encoder = self._run, _encoder(self._run)
        if not run.stages.is_done(STAGE):
            fraction = max(run.config.fractions)
            train_encoder(run, encoder, STAGE, fraction, self._progress)
        return load_weights(encoder, run.stages.folder(STAGE) / "weights.npz")


def _encoder(run: Run) -> VisualEncoder:
    """A ConvNet of its own, with the weights of the phrase generator's."""
    generator = Context(run.context.directory).phrase_generator
    size = generator.tower.input_shape[1] or run.data.image_size
    encoder = VisualEncoder(generator.tower, size, name="web_encoder")
    encoder(tf.zeros([1, size, size, 3]))
    return encoder
