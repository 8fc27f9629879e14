"""`model.fit`, epoch by epoch, that goes on where it was stopped."""

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

SAVE_EVERY = 1000  # steps within an epoch


def cosine_adamw(learning_rate: float, steps: int, weight_decay: float = 1e-3) -> keras.optimizers.Optimizer:
    """AdamW under a cosine decay from `learning_rate` to 0 over `steps`, after a short warm-up."""
    warmup = max(1, steps // 20)
    schedule = keras.optimizers.schedules.CosineDecay(
        learning_rate / 20, max(1, steps - warmup), warmup_target=learning_rate, warmup_steps=warmup
    )
    return keras.optimizers.AdamW(schedule, weight_decay=weight_decay)


def fit(
    model: keras.Model, batches: tf.data.Dataset, callbacks: list[keras.callbacks.Callback] | None = None
) -> dict[str, float]:
    """One pass over global batches of known number and static shape, on the devices of the model's strategy.

    Returns:
        The pass's means, by name.
    """
    steps = int(batches.cardinality())
    with model.distribute_strategy.scope():
        # Built in the first step, it would have that step traced twice.
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
    """Trains a compiled model for `epochs`; a run stopped in between goes on after its last checkpoint.

    There is one at the end of each epoch and after every `save_every` steps in it. SIGTERM, which announces a
    machine's end, writes another one where one process trains alone. Model, optimizer and curves are kept in `folder`
    until the caller has saved the result and removes it. What an epoch does depends on its number alone (see
    `training_batches`), so that a resumed run ends at the same weights as one that was never stopped.

    Args:
        model: compiled in the scope of its strategy, its variables already built.
        batches: epoch number to that epoch's global batches.
        epochs: how many.
        folder: for the checkpoint.
        progress: told after every epoch.
        logs: folder for TensorBoard.
        save_every: steps.

    Returns:
        The curves, name to one value an epoch.

    Raises:
        InputError: the loss is no longer a number, the last good checkpoint stays; or there is a checkpoint of another
            architecture.
        KeyboardInterrupt: SIGTERM came, and a checkpoint was written.
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
    with _terminated(strategy) as stop, contextlib.closing(checkpoints):
        while state["epoch"] < epochs:
            progress.update(state["epoch"] / epochs, _note(state["curves"]))
            whole, start = batches(state["epoch"]), state["step"]
            steps = int(whole.cardinality())
            watch = _Watch(state, steps, save_every, checkpoints, stop, alone=num_workers(strategy) == 1)
            with _lost_workers_told(model, state):
                result = fit(model, whole.skip(start) if start else whole, [watch])
                watch.check(result, steps)
                for name, value in watch.since_the_start(result, steps).items():
                    state["curves"].setdefault(name, []).append(value)
                    with writer.as_default(step=state["epoch"]):
                        tf.summary.scalar(name, value)
                state |= {"epoch": state["epoch"] + 1, "step": 0, "partial": {}}
                checkpoints.write(state)
    writer.close()
    return state["curves"]


class _Watch(keras.callbacks.Callback):
    """Looks at the loss after each execution, and writes checkpoints within an epoch."""

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
        # The logs of a step are of this worker's part; several workers must break off, if at all, together.
        self._alone = alone

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        logs, step = logs or {}, self._start + batch + 1
        if self._alone:
            self.check(logs, step)
        if step < self._steps and (self._stop.is_set() or step - self._saved >= self._every):
            partial = self.since_the_start(logs, step)
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
                    f"training {self.model.name} broke off in epoch {epoch}, by step {epoch * self._steps + step} "
                    f"at a learning rate of {rate:.3g}: {name} is not a number; the last good checkpoint is kept, "
                    "train with a lower learning_rate into another folder."
                )

    def since_the_start(self, logs: dict[str, float], step: int) -> dict[str, float]:
        """Means over the epoch up to `step`; `logs` covers the steps since training resumed."""
        before = self._start / step
        partial = self._state["partial"] if self._start else {}
        return {
            name: before * partial.get(name, value) + (1 - before) * float(value)
            for name, value in logs.items()
        }


@contextmanager
def _terminated(strategy: tf.distribute.Strategy) -> Iterator[threading.Event]:
    """An event that is set by SIGTERM; it is not caught where a checkpoint would need the other workers."""
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
def _lost_workers_told(model: keras.Model, state: dict[str, Any]) -> Iterator[None]:
    try:
        yield
    except tf.errors.OpError as error:
        if num_workers(model.distribute_strategy) == 1:
            raise
        raise RuntimeError(
            f"training {model.name} broke off in epoch {state['epoch']}, since another worker was lost "
            f"({str(error).splitlines()[0]}): start the same command on all workers again, it goes on after the last "
            "checkpoint."
        ) from error


def _note(curves: dict[str, list[float]]) -> str:
    return "  ".join(f"{name} {values[-1]:.3f}" for name, values in curves.items())
