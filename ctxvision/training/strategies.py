"""Makes the `tf.distribute` strategy of a training: a CPU, GPUs, a TPU or several machines."""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import tensorflow as tf
import tf_keras as keras

from ctxvision.errors import InputError

# On an accelerator, one dispatch by the host takes longer than a small model's step.
_STEPS_PER_EXECUTION = 32
LONGEST_WAIT = 600  # seconds


def make_strategy(strategy: str | tf.distribute.Strategy | None = None) -> tf.distribute.Strategy:
    """Makes a strategy by its name.

    Args:
        strategy: one of these names, a strategy, which is returned as it is, or None for the strategy in scope.
            `"cpu"`: the first CPU.
            `"gpu"`: the first GPU.
            `"mirrored"`: all GPUs of this machine; all its logical CPUs if it has no GPU.
            `"tpu"`: the TPU of `TPU_NAME` or `COLAB_TPU_ADDR`, else this machine's own.
            `"multiworker"`: the machines of `TF_CONFIG`; it must be made before TensorFlow runs anything.
            `"auto"`: the first available of multiworker, tpu, mirrored (two GPUs or more) and gpu, else the strategy
            in scope, by default one CPU.

    Raises:
        InputError: the name is unknown, or its devices are missing.
    Example:
        >>> make_strategy("cpu").num_replicas_in_sync
        1
    """
    if strategy is None:
        return tf.distribute.get_strategy()
    if isinstance(strategy, tf.distribute.Strategy):
        return strategy
    makers: dict[str, Callable[[], tf.distribute.Strategy]] = {
        "auto": _auto,
        "cpu": lambda: tf.distribute.OneDeviceStrategy("/cpu:0"),
        "gpu": _gpu,
        "mirrored": _mirrored,
        "tpu": _tpu,
        "multiworker": _multiworker,
    }
    if strategy not in makers:
        raise InputError(
            f"strategy must be one of {', '.join(makers)} or a tf.distribute.Strategy, got {strategy!r}: choose one."
        )
    return makers[strategy]()


def _auto() -> tf.distribute.Strategy:
    if os.environ.get("TF_CONFIG"):
        return _multiworker()
    if _tpu_address() or tf.config.list_physical_devices("TPU"):
        return _tpu()
    gpus = len(tf.config.list_physical_devices("GPU"))
    return _mirrored() if gpus > 1 else _gpu() if gpus else tf.distribute.get_strategy()


def _gpu() -> tf.distribute.Strategy:
    if not tf.config.list_logical_devices("GPU"):
        raise InputError(
            "strategy 'gpu' needs a GPU that TensorFlow sees, got none: install tensorflow[and-cuda], or use 'cpu'."
        )
    return tf.distribute.OneDeviceStrategy("/gpu:0")


def _mirrored() -> tf.distribute.Strategy:
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy([device.name for device in devices])


def _tpu_address() -> str:
    colab = os.environ.get("COLAB_TPU_ADDR", "")
    return os.environ.get("TPU_NAME", "") or (f"grpc://{colab}" if colab else "")


def _tpu() -> tf.distribute.Strategy:
    address = _tpu_address()
    if not address and not tf.config.list_physical_devices("TPU"):
        raise InputError(
            "strategy 'tpu' needs a TPU, got none (looked for TPU_NAME and COLAB_TPU_ADDR in the environment, and for "
            "TPU devices of this machine): choose a runtime with a TPU and install tensorflow-tpu, or use 'cpu'."
        )
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(address or "local")
        if resolver.master():
            tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ImportError, ValueError, RuntimeError, OSError, tf.errors.OpError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"strategy 'tpu' needs a TPU that answers, got none at {address or 'local'!r} ({reason}): correct TPU_NAME "
            "or COLAB_TPU_ADDR, or use 'cpu'."
        ) from error
    return tf.distribute.TPUStrategy(resolver)


def _multiworker() -> tf.distribute.Strategy:
    _check_cluster(os.environ.get("TF_CONFIG", ""))
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except RuntimeError as error:
        raise InputError(
            f"strategy 'multiworker' must be made before TensorFlow has run anything, got {str(error)!r}: call train "
            "first in a new process."
        ) from error


def _check_cluster(text: str) -> None:
    example = '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}'
    try:
        config = json.loads(text)
        cluster, task = config["cluster"], config["task"]
        hosts = cluster[task["type"]]
        if not isinstance(hosts, list) or not 0 <= task["index"] < len(hosts):
            raise IndexError(f"there is no {task['type']} {task['index']}")
    except (ValueError, TypeError, KeyError, IndexError) as error:
        reason = f"{text!r} ({type(error).__name__}: {error})" if text else "none"
        raise InputError(
            "strategy 'multiworker' needs TF_CONFIG in the environment to name the workers and this one, got "
            f"{reason}: set it to {example} with each worker's own index."
        ) from None


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Returns whether this process writes the results: the only process, or the first of several workers."""
    return strategy.extended.should_checkpoint


def num_workers(strategy: tf.distribute.Strategy) -> int:
    """Returns the number of processes that train together."""
    resolver = strategy.cluster_resolver
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy) or resolver is None:
        return 1
    return sum(len(hosts) for hosts in resolver.cluster_spec().as_dict().values()) or 1


def worker_number(strategy: tf.distribute.Strategy) -> int:
    """Returns the number of this process among the workers."""
    return strategy.cluster_resolver.task_id if num_workers(strategy) > 1 else 0


def policy_of(strategy: tf.distribute.Strategy) -> str:
    """Returns the Keras policy of the towers: bfloat16 with float32 weights on a TPU, else float32."""
    return "mixed_bfloat16" if isinstance(strategy, tf.distribute.TPUStrategy) else "float32"


@contextmanager
def building(strategy: tf.distribute.Strategy, policy: str = "float32") -> Iterator[None]:
    """Enters the scope in which a stage makes and compiles its model; `policy` applies to layers without their own."""
    before = keras.mixed_precision.global_policy()
    with strategy.scope():
        keras.mixed_precision.set_global_policy(policy)
        try:
            yield
        finally:
            keras.mixed_precision.set_global_policy(before)


def wait_for(path: Path) -> None:
    """Waits until the first worker has written a file.

    Raises:
        InputError: the file is missing after `LONGEST_WAIT` seconds.
    """
    end = time.monotonic() + LONGEST_WAIT
    while not path.is_file():
        if time.monotonic() > end:
            raise InputError(
                f"out must be a folder that all workers see, got {str(path.parent)!r}, in which the first worker wrote "
                f"no {path.name} within {LONGEST_WAIT} s: give a shared folder, and read the first worker's output."
            )
        time.sleep(0.2)


def steps_per_execution(strategy: tf.distribute.Strategy) -> int:
    """Returns `steps_per_execution` for `compile`: 32 on accelerators, 1 on a CPU, which gains nothing from more."""
    accelerated = policy_of(strategy) != "float32" or tf.config.list_physical_devices("GPU")
    return _STEPS_PER_EXECUTION if accelerated else 1


def check_batch(name: str, size: int, strategy: tf.distribute.Strategy) -> None:
    """Raises an InputError if a batch cannot be cut into one equal part per replica."""
    replicas = strategy.num_replicas_in_sync
    if size % replicas:
        lower = size - size % replicas
        fits = f"{lower} or {lower + replicas}" if lower else str(replicas)
        raise InputError(
            f"{name} must be a multiple of the strategy's {replicas} replicas, got {size}: set it to {fits}."
        )


def distributed(
    batches: tf.data.Dataset, strategy: tf.distribute.Strategy
) -> "tf.data.Dataset | tf.distribute.DistributedDataset":
    """Cuts global batches into equal parts of static shape, in order: replica i takes part i.

    Raises:
        InputError: the batch size is not a multiple of the number of replicas.
    """
    replicas = strategy.num_replicas_in_sync
    if replicas == 1:
        return batches
    check_batch("the size of a batch", tf.nest.flatten(batches.element_spec)[0].shape[0], strategy)

    def of_this_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
        local = replicas // context.num_input_pipelines
        first = context.input_pipeline_id * local

        def cut(*batch: tf.Tensor) -> tf.Tensor:
            def parts(values: tf.Tensor) -> tf.Tensor:
                size = values.shape[0] // replicas
                return tf.reshape(values, [replicas, size, *values.shape[1:]])[first : first + local]

            return tf.nest.map_structure(parts, batch)

        return batches.map(cut).unbatch()

    return strategy.distribute_datasets_from_function(of_this_worker)
