"""The trainable vectors of the queries, updated where they are touched."""

from types import SimpleNamespace
from typing import Any

import tensorflow as tf
import tf_keras as keras

from ctxvision.models.replicas import gathered, local_replicas, num_replicas, replica_number, summed

STORAGES = ("float32", "float16")
# Rows that get their initial values at a time, so that no second table is needed for a moment.
BLOCK = 1 << 18
# Bits of a float32's mantissa that a float16 has no place for.
CUT_BITS = (1 << 13) - 1


@keras.saving.register_keras_serializable("ctxvision")
class ClassTable(keras.layers.Layer):
    """One weight vector per query class with row-wise Adagrad: a step costs O(rows touched), not O(classes).

    The optimizer's state is one number a row (its mean squared gradient, summed over steps). Rows named twice in
    a step are added up by sorting, in static shapes, so that the update compiles with XLA. In memory a class takes
    4 (dim + 1) bytes, 2 dim + 4 in float16; nothing as large as the table is made beside it.

    Under a strategy of R replicas each keeps V / R of the rows: replica r has those from r V / R on. A step tells all of
    them which rows it wants, each looks in its own part, and the sum over replicas, to which the others give zeros, is
    what was asked for.

    Args:
        num_classes: V.
        dim: width of a row.
        stddev: of the initial weights. They are L2-normalised before use, so a small value means quick turns at
            the start: 0.05 learns far faster than 1.
        seed: of the initial weights.
        storage: "float32", or "float16", in which rows are kept between steps: a step reckons in float32, and rounds
            at random to one of the two neighbours, the nearer the likelier. Steps too small for float16 then still
            count on average, where rounding to the nearest would lose them all.

    Raises:
        ValueError: another `storage`.
    """

    def __init__(
        self,
        num_classes: int,
        dim: int = 64,
        stddev: float = 0.05,
        seed: int = 0,
        storage: str = "float32",
        **kwargs: Any,
    ):
        # The rows learn through `update`, not through the model's optimizer.
        super().__init__(**{**kwargs, "trainable": False, "dtype": "float32"})
        if storage not in STORAGES:
            raise ValueError(
                f"storage must be one of {', '.join(STORAGES)}, got {storage!r}: choose one of them."
            )
        self.num_classes = num_classes
        self.dim = dim
        self.stddev = stddev
        self.seed = seed
        self.storage = storage
        replicas = num_replicas()
        self.shard_rows = -(-num_classes // replicas)
        # What is no replica's own goes to one row more, which nobody reads.
        rows = self.shard_rows + (replicas > 1)
        # Keras would take each variable for one value that all replicas have: it is shown this process's shards alone.
        self._variables = SimpleNamespace(
            table=_of_each_replica("table", (rows, dim), storage),
            squares=_of_each_replica("squares", (rows,), "float32"),
        )
        local = tf.distribute.get_strategy().experimental_local_results
        self.table_shards, self.square_shards = list(local(self.table)), list(local(self.squares))
        self._initialize()

    @property
    def table(self) -> tf.Variable:
        """The rows [V, dim] in `storage`; inside a strategy's step those of this replica [shard_rows + 1, dim]."""
        return self._variables.table

    @property
    def squares(self) -> tf.Variable:
        """float32: what Adagrad keeps of each row of `table`."""
        return self._variables.squares

    def _initialize(self) -> None:
        """The same values for a class, however many replicas there are."""
        firsts = [replica * self.shard_rows for replica in local_replicas()]
        for block, start in enumerate(range(0, self.num_classes, BLOCK)):
            stop = min(start + BLOCK, self.num_classes)
            normal = keras.initializers.RandomNormal(stddev=self.stddev, seed=self.seed + 1_000_003 * block)
            values = tf.cast(normal((stop - start, self.dim)), self.storage)
            for shard, first in zip(self.table_shards, firsts, strict=True):
                begin, end = max(start, first), min(stop, first + self.shard_rows)
                if begin < end:
                    tf.raw_ops.ResourceScatterUpdate(
                        resource=shard.handle,
                        indices=tf.range(begin - first, end - first),
                        updates=values[begin - start : end - start],
                    )

    def _row(self, classes: tf.Tensor) -> tf.Tensor:
        """Each class's row on this replica; `shard_rows`, the row that nobody reads, for those of the others."""
        if num_replicas() == 1:
            return classes
        row = classes - replica_number() * self.shard_rows
        return tf.where((row >= 0) & (row < self.shard_rows), row, self.shard_rows)

    def call(self, classes: tf.Tensor) -> tf.Tensor:
        """float32 rows [..., dim] of int32 classes [...], not normalised; a class below 0 (padding) gives row 0.

        Under a strategy the replicas must all ask for the same.
        """
        row = self._row(tf.maximum(classes, 0))
        rows = tf.cast(tf.gather(self.table, row), tf.float32)
        own = (row < self.shard_rows)[..., tf.newaxis]
        return rows if num_replicas() == 1 else summed(tf.where(own, rows, 0.0))

    def all_rows(self) -> tf.Tensor:
        """float32 [V, dim], not normalised: takes as much memory as the whole table."""
        return gathered(tf.cast(self.table[: self.shard_rows], tf.float32))[: self.num_classes]

    def update(self, classes: tf.Tensor, gradients: tf.Tensor, learning_rate: tf.Tensor) -> None:
        """Takes one Adagrad step for `gradients` [R, dim] of the rows `classes` int32 [R].

        Under a strategy the replicas must all be given the same: those of the global batch.
        """
        distinct, summed_gradients, source = _sum_by_class(classes, gradients)
        row = self._row(distinct)
        squares = tf.gather(self.squares, row) + tf.reduce_mean(tf.square(summed_gradients), axis=-1)
        step = learning_rate * summed_gradients * tf.math.rsqrt(squares + 1e-12)[:, tf.newaxis]
        rows = tf.cast(tf.gather(self.table, row), tf.float32) - step
        if self.storage == "float16":
            rows = _rounded_at_random(rows, self.seed)
        # By handle, which inside a step is that of the replica's own shard.
        for variable, values in ((self.table, rows), (self.squares, squares)):
            tf.raw_ops.ResourceScatterUpdate(
                resource=variable.handle,
                indices=tf.gather(row, source),
                updates=tf.gather(values, source),
            )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "dim": self.dim,
            "stddev": self.stddev,
            "seed": self.seed,
            "storage": self.storage,
        }


def _of_each_replica(name: str, shape: tuple[int, ...], dtype: str) -> tf.Variable:
    """Zeros, on each replica its own."""
    return tf.Variable(
        lambda: tf.zeros(shape, dtype),
        trainable=False,
        name=name,
        synchronization=tf.VariableSynchronization.ON_READ,
        aggregation=tf.VariableAggregation.SUM,
    )


def _sum_by_class(classes: tf.Tensor, gradients: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The distinct classes first, their summed gradients, and which of these R places to write.

    Of the places behind the last distinct class the first one is written again, and with the same values: shapes
    stay static.
    """
    order = tf.argsort(classes, stable=True)
    ordered = tf.gather(classes, order)
    starts = tf.concat([[0], tf.cast(ordered[1:] != ordered[:-1], tf.int32)], axis=0)
    place, count = tf.cumsum(starts), tf.size(classes)
    summed = tf.math.unsorted_segment_sum(tf.gather(gradients, order), place, count)
    distinct = tf.maximum(tf.math.unsorted_segment_max(ordered, place, count), 0)
    places = tf.range(count)
    return distinct, summed, tf.where(places <= place[-1], places, 0)


def _rounded_at_random(rows: tf.Tensor, seed: int) -> tf.Tensor:
    """float16 of float32 [R, D]: up or down, so that the mean is the value itself.

    The random bits depend on the rows: they are others at each step without a counter.
    """
    now = tf.bitcast(tf.reduce_sum(rows), tf.int32)
    noise = tf.random.stateless_uniform(tf.shape(rows), [seed, now], None, None, tf.int32)
    bits = tf.bitcast(rows, tf.int32) + tf.bitwise.bitwise_and(noise, CUT_BITS)
    return tf.cast(tf.bitcast(tf.bitwise.bitwise_and(bits, ~CUT_BITS), tf.float32), tf.float16)
