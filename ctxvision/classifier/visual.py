"""Stage `visual`: trains a ConvNet on a share of the labelled pictures (section 3.4)."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
import tf_keras as keras

from ctxvision._files import link_or_copy
from ctxvision.classifier.config import Config
from ctxvision.classifier.run_folder import RunFolder
from ctxvision.classifier.task import task_of
from ctxvision.classifier.towers import SHARED, new_visual_encoder, saved_model_digest
from ctxvision.layers import VisualEncoder
from ctxvision.training.batches import epochs_of, tiled_batches
from ctxvision.training.fine_tuning import set_trainable, steps_of
from ctxvision.training.fit import cosine_adamw, fit_resumably
from ctxvision.training.progress import Progress
from ctxvision.training.strategies import building, is_chief, make_strategy, policy_of, steps_per_execution
from ctxvision.training.weights import save_weights, take_part_in_saving

# Largest number of passes over the labelled pictures. In two draws of 200 photographs of 10 labels, 400 passes were better on
# other pictures than 100 passes; more were not tried.
MOST_PASSES = 400


def train_visual(
    run: RunFolder, fraction: float, progress: Progress, strategy: tf.distribute.Strategy | None = None
) -> None:
    """Trains a visual encoder on `fraction` of each label's pictures in `pretrain` (else `train`).

    A linear layer over the encoder's features learns the labels, each on its own under `multi_label` (sigmoid); the run
    keeps only the encoder. A fine-tuned backbone learns in a second step, see `steps_of`. A frozen backbone without a
    linear mapping is kept without training.

    Args:
        run: the run.
        fraction: above 0, up to 1.
        progress: updated before every epoch.
        strategy: strategy of the training; the strategy in scope by default.
    """
    strategy = make_strategy(strategy)
    config, stage = run.config, f"visual/{fraction:g}"
    with building(strategy, policy_of(strategy)):
        keras.utils.set_random_seed(config.seed)
        generator = run.context.phrase_generator if config.visual_backbone == SHARED else None
        encoder = new_visual_encoder(config, generator, pretrained=True)
    if not encoder.trainable_weights:
        _keep(encoder, run, stage, strategy, _same_weights(run), pictures=0, steps=0)
        if is_chief(strategy):
            _ = run.visual_encoder(fraction)  # keeps the SavedModel loaded for later stages
        return
    train_encoder(run, encoder, stage, fraction, progress, strategy, config.visual_train)


def train_encoder(
    run: RunFolder,
    encoder: VisualEncoder,
    stage: str,
    fraction: float,
    progress: Progress,
    strategy: tf.distribute.Strategy | None = None,
    train: str | None = None,
) -> None:
    """Trains an encoder as `train_visual` does, and keeps its weights as a stage.

    Args:
        run: the run.
        encoder: a built encoder; it is changed.
        stage: name of the stage.
        fraction: share of each label's pictures in `pretrain`.
        progress, strategy: see `train_visual`.
        train: which pre-trained weights learn, see `set_trainable`; None: all of them, as in a new network.
    """
    strategy = make_strategy(strategy)
    config, data = run.config, run.data
    rows = data.fraction_of("pretrain", fraction)
    task = task_of(config)
    targets = task.encoder_targets(data.label_targets("pretrain")[rows], len(data.labels))
    steps = encoder_steps(config, fraction, len(rows))
    with building(strategy, policy_of(strategy)):
        logits = keras.layers.Dense(len(data.labels), dtype="float32", name="logits")
    curves: dict[str, list[float]] = {}
    done = 0
    for step in steps_of(train):
        epochs, steps_per_epoch = epochs_of(len(rows), config.batch_size, max(1, round(steps * step.share)))
        set_trainable(encoder.tower, "none" if step.frozen else train)
        pictures = run.tower_inputs(encoder, "pretrain", progress)
        rate = config.learning_rate * step.rate
        with building(strategy, policy_of(strategy)):
            model = visual_model(encoder, logits, pictures.shape[1:], stage.replace("/", "_"))
            model.compile(
                cosine_adamw(rate, epochs * steps_per_epoch, weight_decay=0.05),
                task.encoder_loss(),
                steps_per_execution=steps_per_execution(strategy),
            )
        found = fit_resumably(
            model,
            tiled_batches(pictures, (targets,), config.batch_size, config.seed, rows),
            epochs,
            run.stages.unfinished(stage) / step.name,
            progress,
            run.directory / "logs" / stage / step.name,
        )
        curves = {name: curves.get(name, []) + values for name, values in found.items()}
        done += epochs * steps_per_epoch
    _keep(encoder, run, stage, strategy, None, curves=curves, pictures=len(rows), steps=done)


def encoder_steps(config: Config, fraction: float, pictures: int) -> int:
    """Returns the training steps of a visual encoder on a fraction of the labels, which has this many pictures."""
    most = math.ceil(MOST_PASSES * pictures / config.batch_size)
    return max(1, min(most, round(config.visual_steps * max(fraction, 0.25))))


def was_trained(run: RunFolder, fraction: float) -> bool:
    """Returns whether the stage trained the visual encoder of `fraction`; a frozen encoder is not trained."""
    return run.stages.facts(f"visual/{fraction:g}")["steps"] > 0


def _same_weights(run: RunFolder) -> Path | None:
    """Returns the weights file that another fraction's stage wrote of an encoder without training, or None."""
    stages = [f"visual/{fraction:g}" for fraction in run.config.fractions]
    done = [stage for stage in stages if run.stages.is_done(stage)]
    return run.stages.folder(done[0]) / "weights.npz" if done else None


def _keep(
    encoder: VisualEncoder,
    run: RunFolder,
    stage: str,
    strategy: tf.distribute.Strategy,
    same: Path | None,
    **facts: Any,
) -> None:
    if not is_chief(strategy):
        take_part_in_saving(encoder)
        return
    with run.stages.finishing(stage, tower=saved_model_digest(encoder), **facts) as folder:
        if same is None:
            save_weights(encoder, folder / "weights.npz")
        else:
            link_or_copy(same, folder / "weights.npz")


def visual_model(
    encoder: VisualEncoder, logits: keras.layers.Layer, shape: Sequence[int], name: str
) -> keras.Model:
    """Returns the model that the stage trains, from the encoder's inputs [B, *shape] to logits float32 [B, L]."""
    given = keras.Input(shape)
    return keras.Model(given, logits(encoder(given)), name=name)
