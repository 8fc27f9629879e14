"""Keeps a training's model and position on disk, so that training resumes after a stop."""

import copy
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import tensorflow as tf
import tf_keras as keras

from ctxvision._files import read_json, write_json
from ctxvision.errors import InputError
from ctxvision.training.strategies import is_chief, num_workers, worker_number

# Largest size of a file; the table of forty million query classes alone takes ten files.
SHARD_BYTES = 1 << 30
# Checkpoints of this size or more are written in the background while training goes on.
IN_BACKGROUND = 1 << 28


class Checkpoints:
    """Writes and reads the last checkpoint of a model, its optimizer and the state of its training.

    Each of several workers writes its own variables, including its shards of the class table, and reads them again;
    all workers must see `folder`. On one device, a large model is copied in memory, which must hold the copy too, and
    its files are written in shards while training goes on.

    Args:
        model: a compiled model whose variables and optimizer variables exist.
        folder: folder of the checkpoint; the caller removes it.
    """

    def __init__(self, model: keras.Model, folder: Path):
        self._checkpoint = tf.train.Checkpoint(model=model, optimizer=model.optimizer)
        self._strategy = model.distribute_strategy
        self._name = model.name
        self._folder = folder
        size = sum(weight.dtype.size * weight.shape.num_elements() for weight in model.weights)
        alone = self._strategy.num_replicas_in_sync == 1
        self._background = alone and size >= IN_BACKGROUND
        shards = tf.train.experimental.MaxShardSizePolicy(SHARD_BYTES)
        self._options = tf.train.CheckpointOptions(
            experimental_sharding_callback=shards if alone else None, enable_async=self._background
        )
        self._namer = ThreadPoolExecutor(1)
        self._named: Future[None] | None = None

    def read(self) -> dict[str, Any]:
        """Restores model and optimizer, and returns the state: `epoch`, `step` in it, `curves`, and `partial` logs.

        Raises:
            InputError: the checkpoint is damaged or of another architecture.
        """
        state: dict[str, Any] = {"epoch": 0, "step": 0, "curves": {}, "partial": {}}
        if (self._folder / "state.json").exists():
            state |= read_json(self._folder / "state.json")
        # A worker that restarts early may still see an older state than the chief.
        state["epoch"], state["step"] = _broadcast_from_chief([state["epoch"], state["step"]], self._strategy)
        if state["epoch"] or state["step"]:
            try:
                self._checkpoint.read(str(self._path_to_read(state))).assert_existing_objects_matched()
            except (AssertionError, ValueError, tf.errors.OpError) as error:
                raise InputError(
                    f"the checkpoint in {str(self._folder)!r} must fit the model {self._name!r} as configured now, got "
                    f"another architecture or a damaged file ({str(error).splitlines()[0]}): delete that folder to "
                    "train the stage from its start."
                ) from None
        return state

    def write(self, state: dict[str, Any]) -> None:
        """Writes a checkpoint, then the state that names it, and removes the previous checkpoint.

        A large model's files may be complete only after `close` or the next `write`.
        """
        self.close()
        self._checkpoint.write(str(self._path(state)), self._options)
        _broadcast_from_chief([0], self._strategy)  # returns when all workers have written
        if not is_chief(self._strategy):
            return
        if self._background:
            self._named = self._namer.submit(self._name_written, copy.deepcopy(state))
        else:
            self._name_written(state)

    def close(self) -> None:
        """Waits until the last checkpoint is on disk and named, and raises the error of a failed write."""
        if self._named is not None:
            named, self._named = self._named, None
            named.result()

    def _name_written(self, state: dict[str, Any]) -> None:
        if self._background:
            self._checkpoint.sync()
        path = self._path(state)
        write_json(self._folder / "state.json", state)
        for old in self._folder.glob("epoch-*"):
            if old != path.parent:
                shutil.rmtree(old, ignore_errors=True)

    def _path_to_read(self, state: dict[str, Any]) -> Path:
        """Returns this worker's checkpoint; falls back to the chief's if a restarted worker has none."""
        own = self._path(state)
        return own if own.with_name(f"{own.name}.index").is_file() else own.with_name("checkpoint")

    def _path(self, state: dict[str, Any]) -> Path:
        within = f"-step-{state['step']}" if state["step"] else ""
        worker = "" if is_chief(self._strategy) else f"-of-worker-{worker_number(self._strategy)}"
        return self._folder / f"epoch-{state['epoch']}{within}" / f"checkpoint{worker}"


def _broadcast_from_chief(numbers: list[int], strategy: tf.distribute.Strategy) -> list[int]:
    """Returns the chief's numbers on every worker."""
    if num_workers(strategy) == 1:
        return numbers

    def chiefs_numbers() -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        return tf.constant(numbers) * tf.cast(context.replica_id_in_sync_group == 0, tf.int32)

    @tf.function
    def summed() -> tf.Tensor:
        return strategy.reduce("SUM", strategy.run(chiefs_numbers), axis=None)

    return summed().numpy().tolist()
