"""What the replicas of a strategy tell each other inside a training step; with one replica nothing is done."""

import tensorflow as tf


def num_replicas() -> int:
    """How many replicas share the global batch."""
    return tf.distribute.get_strategy().num_replicas_in_sync


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
    mine = tf.range(replicas) == tf.distribute.get_replica_context().replica_id_in_sync_group
    mine = tf.reshape(mine, [replicas] + [1] * values.shape.rank)
    spread = tf.where(mine, values[tf.newaxis], tf.zeros([], values.dtype))
    return tf.reshape(summed(spread), [-1, *values.shape[1:]])


def compiled_by_xla(jit_compile: bool) -> bool:
    """Whether the step must have static shapes: under `compile(jit_compile=True)`, and always on a TPU."""
    return jit_compile or isinstance(tf.distribute.get_strategy(), tf.distribute.TPUStrategy)
