"""Runs `model.fit` epoch by epoch, and resumes after a stop."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from ctxvision.errors import InputError
from ctxvision.training.checkpoints import Checkpoints
from ctxvision.training.progress import Progress
from ctxvision.training.strategies import distributed, is_chief, num_workers

SAVE_EVERY = 1000  # steps between checkpoints within an epoch


def cosine_adamw(learning_rate: float, steps: int, weight_decay: float = 1e-3) -> keras.optimizers.Optimizer:
    """Returns AdamW with a cosine decay from `learning_rate` to 0 over `steps`; the first 5% of the steps warm up."""
    warmup = max(1, steps // 20)
    schedule = keras.optimizers.schedules.CosineDecay(
        learning_rate / 20, max(1, steps - warmup), warmup_target=learning_rate, warmup_steps=warmup
    )
    return keras.optimizers.AdamW(schedule, weight_decay=weight_decay)


def fit(
    model: keras.Model, batches: tf.data.Dataset, callbacks: list[keras.callbacks.Callback] | None = None
) -> dict[str, float]:
    """Trains for one pass over global batches, on the devices of the model's strategy.

    Args:
        model: a compiled model.
        batches: batches of static shape and of known number.
        callbacks: Keras callbacks.

    Returns:
        The means over the pass, by name.
    """
    steps = int(batches.cardinality())
    with model.distribute_strategy.scope():
        # An optimizer that is built in the first step would have this step traced twice.
        model.optimizer.build(model.trainable_variables)
    parts = distributed(batches, model.distribute_strategy)
    history = model.fit(parts, steps_per_epoch=steps, callbacks=callbacks, verbose=0).history
    return {name: float(values[-1]) for name, values in history.items()}


def fit_resumably(
    model: keras.Model,
    batches: Callable[[int], tf.data.Dataset],
    epochs: int,
    folder: Path,
    progress: Progress,
    logs: Path,
    save_every: int = SAVE_EVERY,
) -> dict[str, list[float]]:
    """Trains a compiled model for `epochs`, and resumes a stopped training after its last checkpoint.

    A checkpoint is written at the end of each epoch and after every `save_every` steps within it. SIGTERM, which
    announces the end of a machine, writes another one if a single process trains. `folder` keeps model, optimizer and
    curves until the caller saves the result and removes it. An epoch depends only on its number (see
    `training_batches`), so a resumed run ends at the same weights as a run without a stop.

    Args:
        model: compiled in the scope of its strategy; its variables exist.
        batches: function from the epoch number to the epoch's global batches.
        epochs: number of epochs.
        folder: folder of the checkpoint.
        progress: updated before every epoch.
        logs: folder for TensorBoard.
        save_every: steps between checkpoints within an epoch.

    Returns:
        The curves: one value per epoch, by name.

    Raises:
        InputError: a logged value is not finite (the last good checkpoint is kept), or the checkpoint is damaged or of
            another architecture.
        KeyboardInterrupt: SIGTERM was received; a checkpoint is written before.
        RuntimeError: one of several workers was lost.
    """
    strategy = model.distribute_strategy
    with strategy.scope():
        model.optimizer.build(model.trainable_variables)
    checkpoints = Checkpoints(model, folder)
    state = checkpoints.read()
    writer = (
        tf.summary.create_file_writer(str(logs)) if is_chief(strategy) else tf.summary.create_noop_writer()
    )
    with _sigterm_event(strategy) as stop, contextlib.closing(checkpoints):
        while state["epoch"] < epochs:
            whole, start = batches(state["epoch"]), state["step"]
            steps = int(whole.cardinality())
            done, total = state["epoch"] * steps + start, epochs * steps
            progress.update(done, _note(state["curves"]), total, "steps")
            bar = keras.callbacks.LambdaCallback(
                on_train_batch_end=lambda batch, logs, done=done, total=total: progress.update(
                    done + batch + 1, f"loss {logs['loss']:.3f}", total, "steps"
                )
            )
            watch = _Watch(state, steps, save_every, checkpoints, stop, alone=num_workers(strategy) == 1)
            with _explained_loss_of_workers(model, state):
                result = fit(model, whole.skip(start) if start else whole, [watch, bar])
                watch.check(result, steps)
                for name, value in watch.epoch_means(result, steps).items():
                    state["curves"].setdefault(name, []).append(value)
                    with writer.as_default(step=state["epoch"]):
                        tf.summary.scalar(name, value)
                state |= {"epoch": state["epoch"] + 1, "step": 0, "partial": {}}
                checkpoints.write(state)
    writer.close()
    return state["curves"]


class _Watch(keras.callbacks.Callback):
    """Checks the loss after each execution, and writes checkpoints within an epoch."""

    def __init__(
        self,
        state: dict[str, Any],
        steps: int,
        save_every: int,
        checkpoints: Checkpoints,
        stop: threading.Event,
        alone: bool,
    ):
        super().__init__()
        self._state, self._steps = state, steps
        self._start = self._saved = state["step"]
        self._every, self._checkpoints, self._stop = save_every, checkpoints, stop
        # Logs of a step cover this worker's part only, and several workers must stop together or not at all.
        self._alone = alone

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        logs, step = logs or {}, self._start + batch + 1
        if self._alone:
            self.check(logs, step)
        if step < self._steps and (self._stop.is_set() or step - self._saved >= self._every):
            partial = self.epoch_means(logs, step)
            self._checkpoints.write({**self._state, "step": step, "partial": partial})
            self._saved = step
        if self._stop.is_set() and step < self._steps:
            raise KeyboardInterrupt

    def check(self, logs: dict[str, float], step: int) -> None:
        """Raises if a logged value is not finite."""
        for name, value in logs.items():
            if not np.isfinite(value):
                rate = float(self.model.optimizer.learning_rate)
                epoch = self._state["epoch"]
                raise InputError(
                    f"training {self.model.name} stopped in epoch {epoch} at step {epoch * self._steps + step} and a "
                    f"learning rate of {rate:.3g}: {name} is not a number; the last good checkpoint is kept, train "
                    "with a lower learning_rate into another folder."
                )

    def epoch_means(self, logs: dict[str, float], step: int) -> dict[str, float]:
        """Returns means over the epoch up to `step`; `logs` covers the steps since training resumed."""
        before = self._start / step
        partial = self._state["partial"] if self._start else {}
        return {
            name: before * partial.get(name, value) + (1 - before) * float(value)
            for name, value in logs.items()
        }


@contextmanager
def _sigterm_event(strategy: tf.distribute.Strategy) -> Iterator[threading.Event]:
    """Yields an event that SIGTERM sets; SIGTERM ends one of several workers, as a checkpoint needs all of them."""
    stop = threading.Event()
    if num_workers(strategy) > 1 or threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        yield stop
        if stop.is_set():
            raise KeyboardInterrupt
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _explained_loss_of_workers(model: keras.Model, state: dict[str, Any]) -> Iterator[None]:
    try:
        yield
    except tf.errors.OpError as error:
        if num_workers(model.distribute_strategy) == 1:
            raise
        raise RuntimeError(
            f"training {model.name} stopped in epoch {state['epoch']}, because another worker was lost "
            f"({str(error).splitlines()[0]}): start the same command on all workers again; training resumes after the "
            "last checkpoint."
        ) from error


def _note(curves: dict[str, list[float]]) -> str:
    return "  ".join(f"{name} {values[-1]:.3f}" for name, values in curves.items())
