"""Trains the phrase generator: queries as classes."""

from typing import Any

import tensorflow as tf
import tf_keras as keras

from ctxvision.layers.phrase_generator import PhraseGenerator
from ctxvision.losses.sampled_softmax import log_uniform_sample, sampled_softmax_loss
from ctxvision.models.class_table import ClassTable
from ctxvision.models.replicas import gathered, num_replicas, own_part, summed


@keras.saving.register_keras_serializable("ctxvision")
class QueryClassifier(keras.Model):
    """Classifies pictures by the queries that led people to them (section 3.2, Eq. 1).

    `fit` takes batches of (pixels [B, H, W, 3], queries int32 [B, Q] padded with -1). Classes must be sorted by
    descending count, as log-uniform sampling expects. The compiled optimizer trains the tower; row-wise Adagrad trains
    the class rows at `table_rate` times the optimizer's learning rate, see `ClassTable`. Under a strategy of several
    replicas, a step equals one device's step on the global batch, and each replica keeps its part of the class rows.

    Args:
        phrase_generator: the layer to train.
        num_queries: V, the number of classes.
        scale: factor of the cosine logits; Eq. 1 has scale 1.
        num_sampled: S, the number of classes drawn at each step; None, or V and more, computes the full softmax (best
            below a few thousand classes).
        table_rate: learning rate of the class rows, as a multiple of the optimizer's.
        seed: seed of the class rows and of the samples.
        table_dtype: dtype in which the class rows are kept, "float32" or "float16", see `ClassTable`.

    Raises:
        ValueError: `num_queries` is below 2, `num_sampled` is below 1, or `table_dtype` is unknown.

    Example:
        >>> model = cv.QueryClassifier(cv.PhraseGenerator("resnet_mini"), num_queries=1000)
        >>> model.compile(keras.optimizers.AdamW(1e-3))
        >>> queries = np.array([[0, 7], [3, -1], [0, 1], [999, 3]], np.int32)
        >>> history = model.fit(pixels, queries, verbose=0)
    """

    def __init__(
        self,
        phrase_generator: PhraseGenerator,
        num_queries: int,
        scale: float = 16.0,
        num_sampled: int | None = 512,
        table_rate: float = 16.0,
        seed: int = 0,
        table_dtype: str = "float32",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if num_queries < 2:
            raise ValueError(
                f"num_queries must be at least 2, got {num_queries}: give more queries or a lower minimum count."
            )
        if num_sampled is not None and num_sampled < 1:
            raise ValueError(
                f"num_sampled must be at least 1, or None for the full softmax, got {num_sampled}: 512 is the default."
            )
        self.phrase_generator = phrase_generator
        self.num_queries = num_queries
        self.scale = scale
        self.num_sampled = num_sampled
        self.table_rate = table_rate
        self.seed = seed
        self.loss_tracker = keras.metrics.Mean(name="loss")
        self.table_dtype = table_dtype
        self.class_table = ClassTable(
            num_queries, phrase_generator.embedding_dim, seed=seed, storage=table_dtype
        )

    def call(self, pixels: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Returns cosine logits times `scale`, [B, V]; unlike `train_step`, it takes the memory of a second table."""
        embeddings = self.phrase_generator(pixels, training=training)
        rows = tf.math.l2_normalize(self.class_table.all_rows(), axis=-1)
        return self.scale * tf.matmul(embeddings, rows, transpose_b=True)

    def _sample(self) -> tuple[tf.Tensor, tf.Tensor]:
        if self.num_sampled is None or self.num_sampled >= self.num_queries:
            return tf.range(self.num_queries), tf.zeros([self.num_queries])
        seed = tf.stack([tf.constant(self.seed, tf.int64), self.optimizer.iterations])
        return log_uniform_sample(seed, self.num_sampled, self.num_queries)

    def train_step(self, data: tuple[tf.Tensor, tf.Tensor]) -> dict[str, tf.Tensor]:
        pixels, queries = data[0], tf.cast(data[1], tf.int32)
        sampled, log_expected_count = self._sample()
        split = sampled.shape[0]
        # All replicas draw the same sample; the true queries differ.
        touched = tf.concat([sampled, gathered(tf.reshape(tf.maximum(queries, 0), [-1]))], axis=0)
        rows = self.class_table(touched)
        rows = tf.concat([rows[:split], own_part(rows[split:])], axis=0)
        with tf.GradientTape() as tape:
            tape.watch(rows)
            unit = tf.math.l2_normalize(rows, axis=-1)
            true_rows = tf.reshape(unit[split:], [tf.shape(queries)[0], queries.shape[1], rows.shape[-1]])
            embeddings = self.phrase_generator(pixels, training=True)
            losses = sampled_softmax_loss(
                embeddings, true_rows, queries, unit[:split], sampled, log_expected_count, self.scale
            )
            loss = tf.reduce_mean(losses)
            share = loss / num_replicas()  # the gradients of the replicas are summed
        weights = self.phrase_generator.trainable_variables
        *gradients, row_gradient = tape.gradient(share, [*weights, rows])
        row_gradient = tf.concat([summed(row_gradient[:split]), gathered(row_gradient[split:])], axis=0)
        self.class_table.update(touched, row_gradient, self.table_rate * self.optimizer.learning_rate)
        self.optimizer.apply_gradients(zip(gradients, weights, strict=True))
        self.loss_tracker.update_state(loss)
        return {"loss": self.loss_tracker.result()}

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The mean loss, which `fit` resets at each epoch."""
        return [self.loss_tracker]

    def get_config(self) -> dict[str, Any]:
        return {
            "phrase_generator": keras.saving.serialize_keras_object(self.phrase_generator),
            "num_queries": self.num_queries,
            "scale": self.scale,
            "num_sampled": self.num_sampled,
            "table_rate": self.table_rate,
            "seed": self.seed,
            "table_dtype": self.table_dtype,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "QueryClassifier":
        generator = keras.saving.deserialize_keras_object(config["phrase_generator"])
        return cls(**{**config, "phrase_generator": generator})
