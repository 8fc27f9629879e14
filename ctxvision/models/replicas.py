"""Communication between the replicas of a strategy inside a training step; a single replica communicates nothing."""

import tensorflow as tf


def num_replicas() -> int:
    """Returns the number of replicas that share the global batch."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def replica_number() -> tf.Tensor:
    """Returns the number of this replica, int32; call it inside a step."""
    return tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.int32)


def local_replicas() -> list[int]:
    """Returns the numbers of this process's replicas; call it in a strategy's scope, outside a step."""
    strategy = tf.distribute.get_strategy()
    if num_replicas() == 1:
        return [0]
    numbers = tf.function(lambda: strategy.run(replica_number))()
    return [int(number) for number in strategy.experimental_local_results(numbers)]


def summed(values: tf.Tensor) -> tf.Tensor:
    """Returns the sum of all replicas' values, on each replica."""
    if num_replicas() == 1:
        return values
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, values)


def gathered(values: tf.Tensor) -> tf.Tensor:
    """Concatenates all replicas' rows [b, ...] to [R · b, ...] in the order of the global batch; gradients flow back.

    Sums arrays that hold one replica's rows and zeros elsewhere, so that shapes stay static for XLA.
    """
    replicas = num_replicas()
    if replicas == 1:
        return values
    mine = tf.reshape(tf.range(replicas) == replica_number(), [replicas] + [1] * values.shape.rank)
    spread = tf.where(mine, values[tf.newaxis], tf.zeros([], values.dtype))
    return tf.reshape(summed(spread), [-1, *values.shape[1:]])


def own_part(values: tf.Tensor) -> tf.Tensor:
    """Returns this replica's rows [b, ...] of the rows [R · b, ...] of all replicas: the inverse of `gathered`."""
    replicas = num_replicas()
    if replicas == 1:
        return values
    return tf.reshape(values, [replicas, -1, *values.shape[1:]])[replica_number()]


def compiled_by_xla(jit_compile: bool) -> bool:
    """Returns whether the step needs static shapes: under `compile(jit_compile=True)`, and always on a TPU."""
    return jit_compile or isinstance(tf.distribute.get_strategy(), tf.distribute.TPUStrategy)
