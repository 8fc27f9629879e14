"""A training's model and place on disk, so that it goes on where it was stopped."""

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

# Files are no longer than this: the table of forty million query classes alone takes ten of them.
SHARD_BYTES = 1 << 30
# From this size on checkpoints are written while training goes on; smaller ones are written before one looks.
IN_BACKGROUND = 1 << 28


class Checkpoints:
    """The last checkpoint of a model and its optimizer, and the state of its training.

    Each of several workers writes what it holds, its shards of the class table among it, and reads that again: `folder`
    must be one that all of them see. On one device a large model is copied in memory, where the copy must fit beside
    it, and its files, in shards, are written while training goes on.

    Args:
        model: compiled, its variables and its optimizer's already built.
        folder: kept until the caller removes it.
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
        """Sets model and optimizer, and returns the state: `epoch`, `step` in it, `curves`, and `partial` logs."""
        state: dict[str, Any] = {"epoch": 0, "step": 0, "curves": {}, "partial": {}}
        if (self._folder / "state.json").exists():
            state |= read_json(self._folder / "state.json")
        # A worker that has come back early may still see an older state than the chief.
        state["epoch"], state["step"] = _of_the_chief([state["epoch"], state["step"]], self._strategy)
        if state["epoch"] or state["step"]:
            try:
                self._checkpoint.read(str(self._written(state))).assert_existing_objects_matched()
            except (AssertionError, ValueError, tf.errors.OpError) as error:
                raise InputError(
                    f"the checkpoint in {str(self._folder)!r} must be of the model {self._name!r} as it is set up now, "
                    f"got another architecture or a damaged file ({str(error).splitlines()[0]}): delete that folder to "
                    "train the stage from its start."
                ) from None
        return state

    def write(self, state: dict[str, Any]) -> None:
        """Writes the checkpoint as it is now, then the state that names it, and removes the one before; see `close`."""
        self.close()
        self._checkpoint.write(str(self._path(state)), self._options)
        _of_the_chief([0], self._strategy)  # comes back when all have written
        if not is_chief(self._strategy):
            return
        if self._background:
            self._named = self._namer.submit(self._name_written, copy.deepcopy(state))
        else:
            self._name_written(state)

    def close(self) -> None:
        """Waits until the last checkpoint is on disk and named, and raises what kept it from being so."""
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

    def _written(self, state: dict[str, Any]) -> Path:
        """The chief's, which has all but the others' shards, for a worker that was not there."""
        own = self._path(state)
        return own if own.with_name(f"{own.name}.index").is_file() else own.with_name("checkpoint")

    def _path(self, state: dict[str, Any]) -> Path:
        within = f"-step-{state['step']}" if state["step"] else ""
        worker = "" if is_chief(self._strategy) else f"-of-worker-{worker_number(self._strategy)}"
        return self._folder / f"epoch-{state['epoch']}{within}" / f"checkpoint{worker}"


def _of_the_chief(numbers: list[int], strategy: tf.distribute.Strategy) -> list[int]:
    """The chief's numbers, at every worker."""
    if num_workers(strategy) == 1:
        return numbers

    def first() -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        return tf.constant(numbers) * tf.cast(context.replica_id_in_sync_group == 0, tf.int32)

    @tf.function
    def told() -> tf.Tensor:
        return strategy.reduce("SUM", strategy.run(first), axis=None)

    return told().numpy().tolist()
