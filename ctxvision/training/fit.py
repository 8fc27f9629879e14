"""`model.fit`, epoch by epoch, that goes on where it was killed."""

import shutil
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf
import tf_keras as keras

from ctxvision._files import read_json, write_json
from ctxvision.errors import InputError
from ctxvision.training.progress import Progress


def cosine_adamw(learning_rate: float, steps: int, weight_decay: float = 1e-3) -> keras.optimizers.Optimizer:
    """AdamW under a cosine decay from `learning_rate` to 0 over `steps`, after a short warm-up."""
    warmup = max(1, steps // 20)
    schedule = keras.optimizers.schedules.CosineDecay(
        learning_rate / 20, max(1, steps - warmup), warmup_target=learning_rate, warmup_steps=warmup
    )
    return keras.optimizers.AdamW(schedule, weight_decay=weight_decay)


def fit_resumably(
    model: keras.Model,
    batches: Callable[[int], tf.data.Dataset],
    epochs: int,
    folder: Path,
    progress: Progress,
    logs: Path,
) -> dict[str, list[float]]:
    """Trains a compiled model for `epochs`; a run killed in between goes on after its last whole epoch.

    Model, optimizer and curves are kept in `folder` until the caller has saved the result and removes it. What
    an epoch does depends on its number alone (see `training_batches`), so that a resumed run ends at the same
    weights as one that was never stopped.

    Args:
        model: compiled, its variables already built.
        batches: epoch number to that epoch's batches.
        epochs: how many.
        folder: for the checkpoint.
        progress: told after every epoch.
        logs: folder for TensorBoard.

    Returns:
        The curves, name to one value an epoch.

    Raises:
        InputError: the loss is no longer a number; the checkpoint of the last good epoch stays.
    """
    model.optimizer.build(_learnt(model))
    checkpoint = tf.train.Checkpoint(model=model, optimizer=model.optimizer)
    curves: dict[str, list[float]] = {}
    start = 0
    if (folder / "state.json").exists():
        state = read_json(folder / "state.json")
        start, curves = state["epoch"], state["curves"]
        checkpoint.read(str(folder / f"epoch-{start}" / "checkpoint")).assert_existing_objects_matched()
    writer = tf.summary.create_file_writer(str(logs))
    for epoch in range(start, epochs):
        progress.update(epoch / epochs, _note(curves))
        result = model.fit(batches(epoch), verbose=0).history
        for name, values in result.items():
            if values[-1] != values[-1]:
                raise InputError(
                    f"training {model.name} broke off in epoch {epoch}: {name} is not a number; "
                    f"lower learning_rate and run the same command again."
                )
            curves.setdefault(name, []).append(float(values[-1]))
            with writer.as_default(step=epoch):
                tf.summary.scalar(name, values[-1])
        checkpoint.write(str(folder / f"epoch-{epoch + 1}" / "checkpoint"))
        write_json(folder / "state.json", {"epoch": epoch + 1, "curves": curves})
        shutil.rmtree(folder / f"epoch-{epoch}", ignore_errors=True)
    writer.close()
    return curves


def _learnt(model: keras.Model) -> list[tf.Variable]:
    return model.trainable_variables


def _note(curves: dict[str, list[float]]) -> str:
    return "  ".join(f"{name} {values[-1]:.3f}" for name, values in curves.items())
