"""The weight vectors of the query classes, updated row by row."""

from types import SimpleNamespace
from typing import Any

import tensorflow as tf
import tf_keras as keras

from ctxvision.models.replicas import gathered, local_replicas, num_replicas, replica_number, summed

STORAGES = ("float32", "float16")
# Rows are initialised in blocks, so that no second table is ever in memory.
BLOCK = 1 << 18
# The bits of a float32 mantissa that float16 cannot hold.
CUT_BITS = (1 << 13) - 1


@keras.saving.register_keras_serializable("ctxvision")
class ClassTable(keras.layers.Layer):
    """Holds one weight vector per query class and trains the vectors with row-wise Adagrad.

    A step costs O(rows touched), not O(classes). The optimizer's state is one number per row: its mean squared
    gradient, summed over steps. The gradients of a row that occurs twice in a step are added up by sorting, in static
    shapes, so that the update compiles with XLA. A class takes 4 (dim + 1) bytes of memory, or 2 dim + 4 in float16;
    no operation allocates a second array of the table's size, except `all_rows`.

    Under a strategy of R replicas, each replica keeps V / R of the rows; the rows of replica r start at r V / R. Every
    replica receives the requested row numbers, looks them up in its own part and gives zeros for the others; the sum
    over the replicas is the result.

    Args:
        num_classes: V.
        dim: width of a row.
        stddev: standard deviation of the initial weights. Rows are L2-normalised before use, so a small value lets
            rows turn quickly at the start: 0.05 learns far faster than 1.
        seed: seed of the initial weights.
        storage: dtype of the rows between steps, "float32" or "float16". A step computes in float32. float16 rounds
            each value at random to one of its two neighbours, to the nearer one with the higher probability. Steps
            too small for float16 so count on average; rounding to the nearest would lose them all.

    Raises:
        ValueError: `storage` is not one of the two.
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
        # A dummy row stands in for the rows of other replicas; nobody reads it.
        rows = self.shard_rows + (replicas > 1)
        # Hides the variables from Keras, which would treat them as equal on all replicas; Keras sees the shards alone.
        self._variables = SimpleNamespace(
            table=_replica_zeros("table", (rows, dim), storage),
            squares=_replica_zeros("squares", (rows,), "float32"),
        )
        local = tf.distribute.get_strategy().experimental_local_results
        self.table_shards, self.square_shards = list(local(self.table)), list(local(self.squares))
        self._initialize()

    @property
    def table(self) -> tf.Variable:
        """The rows [V, dim] in `storage`; inside a strategy's step this replica's rows [shard_rows + 1, dim]."""
        return self._variables.table

    @property
    def squares(self) -> tf.Variable:
        """float32 [rows], Adagrad's accumulator of each row of `table`."""
        return self._variables.squares

    def _initialize(self) -> None:
        """Fills the rows; a class gets the same values for any number of replicas."""
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
        """Maps classes to rows of this replica; a class of another replica maps to the dummy row `shard_rows`."""
        if num_replicas() == 1:
            return classes
        row = classes - replica_number() * self.shard_rows
        return tf.where((row >= 0) & (row < self.shard_rows), row, self.shard_rows)

    def call(self, classes: tf.Tensor) -> tf.Tensor:
        """Returns the float32 rows [..., dim] of int32 classes [...], not normalised.

        A class below 0 (padding) gives row 0. Under a strategy all replicas must pass the same classes.
        """
        row = self._row(tf.maximum(classes, 0))
        rows = tf.cast(tf.gather(self.table, row), tf.float32)
        own = (row < self.shard_rows)[..., tf.newaxis]
        return rows if num_replicas() == 1 else summed(tf.where(own, rows, 0.0))

    def all_rows(self) -> tf.Tensor:
        """Returns float32 [V, dim], not normalised; takes as much memory as the whole table."""
        return gathered(tf.cast(self.table[: self.shard_rows], tf.float32))[: self.num_classes]

    def update(self, classes: tf.Tensor, gradients: tf.Tensor, learning_rate: tf.Tensor) -> None:
        """Takes one Adagrad step for `gradients` [R, dim] of the rows `classes` int32 [R].

        Under a strategy all replicas must pass the same values: those of the global batch.
        """
        distinct, summed_gradients, source = _sum_by_class(classes, gradients)
        row = self._row(distinct)
        squares = tf.gather(self.squares, row) + tf.reduce_mean(tf.square(summed_gradients), axis=-1)
        step = learning_rate * summed_gradients * tf.math.rsqrt(squares + 1e-12)[:, tf.newaxis]
        rows = tf.cast(tf.gather(self.table, row), tf.float32) - step
        if self.storage == "float16":
            rows = _rounded_at_random(rows, self.seed)
        # Inside a step, the handle is that of the replica's own shard.
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


def _replica_zeros(name: str, shape: tuple[int, ...], dtype: str) -> tf.Variable:
    """Creates a variable of zeros that has its own values on each replica."""
    return tf.Variable(
        lambda: tf.zeros(shape, dtype),
        trainable=False,
        name=name,
        synchronization=tf.VariableSynchronization.ON_READ,
        aggregation=tf.VariableAggregation.SUM,
    )


def _sum_by_class(classes: tf.Tensor, gradients: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Sums the gradients [R, dim] of equal classes [R].

    Returns three tensors of R places: the distinct classes, which come first; their summed gradients; and the place to
    write in each position. Positions after the last distinct class write place 0 again with the same values, so that
    shapes stay static.
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
    """Rounds float32 [R, D] to float16, up or down at random, so that the expected value is the input.

    The random bits depend on the values of the rows, so they differ at each step without a counter.
    """
    now = tf.bitcast(tf.reduce_sum(rows), tf.int32)
    noise = tf.random.stateless_uniform(tf.shape(rows), [seed, now], None, None, tf.int32)
    bits = tf.bitcast(rows, tf.int32) + tf.bitwise.bitwise_and(noise, CUT_BITS)
    return tf.cast(tf.bitcast(tf.bitwise.bitwise_and(bits, ~CUT_BITS), tf.float32), tf.float16)
