"""What the replicas of a strategy tell each other inside a training step; with one replica nothing is done."""

import tensorflow as tf


def num_replicas() -> int:
    """How many replicas share the global batch."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def replica_number() -> tf.Tensor:
    """int32: which replica this is; asked inside a step."""
    return tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.int32)


def local_replicas() -> list[int]:
    """The numbers of the replicas that this process runs; asked in a strategy's scope, outside a step."""
    strategy = tf.distribute.get_strategy()
    if num_replicas() == 1:
        return [0]
    numbers = tf.function(lambda: strategy.run(replica_number))()
    return [int(number) for number in strategy.experimental_local_results(numbers)]


def summed(values: tf.Tensor) -> tf.Tensor:
    """The sum of all replicas' values, on each."""
    if num_replicas() == 1:
        return values
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, values)


def gathered(values: tf.Tensor) -> tf.Tensor:
    """All replicas' rows [b, ...] in the order of the global batch, [R · b, ...], on each; gradients flow back.

    A sum of arrays that are zero but for each one's own part: shapes stay static, as XLA wants them.
    """
    replicas = num_replicas()
    if replicas == 1:
        return values
    mine = tf.reshape(tf.range(replicas) == replica_number(), [replicas] + [1] * values.shape.rank)
    spread = tf.where(mine, values[tf.newaxis], tf.zeros([], values.dtype))
    return tf.reshape(summed(spread), [-1, *values.shape[1:]])


def own_part(values: tf.Tensor) -> tf.Tensor:
    """This replica's rows [b, ...] of all replicas' [R · b, ...]: what `gathered` would put back."""
    replicas = num_replicas()
    if replicas == 1:
        return values
    return tf.reshape(values, [replicas, -1, *values.shape[1:]])[replica_number()]


def compiled_by_xla(jit_compile: bool) -> bool:
    """Whether the step must have static shapes: under `compile(jit_compile=True)`, and always on a TPU."""
    return jit_compile or isinstance(tf.distribute.get_strategy(), tf.distribute.TPUStrategy)
