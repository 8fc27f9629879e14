"""Trains the text encoder so that queries of the same picture lie close together."""

from typing import Any

import tensorflow as tf
import tf_keras as keras

from ctxvision._tfrs import load_tfrs
from ctxvision.layers.dual_encoder_text import DualEncoderText
from ctxvision.models.replicas import compiled_by_xla, gathered, num_replicas

tfrs = load_tfrs()


@keras.saving.register_keras_serializable("ctxvision")
class SiameseText(keras.Model):
    """Trains one text encoder as both towers of a dual encoder, with an in-batch softmax (section 3.3).

    In a batch of pairs, the candidate of each left query is its right partner, and the negatives are the other right
    queries. Right queries that equal the partner are not negatives (TFRS removes these "accidental hits"), and neither
    are right queries that equal the left query itself (TFRS keeps these; a mask removes them). The loss averages both
    directions, left to right and right to left. Under a strategy of several replicas, the negatives of the global batch
    are gathered on each replica, so a step equals one device's step.

    `compile` takes an optimizer alone, and `fit` takes the batches of `association_batches`. Adagrad updates only the
    rows of a batch; Adam updates the whole n-gram table at each step.

    Args:
        text_encoder: the layer to train.
        scale: factor of the cosine logits, above 0; the temperature of the softmax is 1 / scale.

    Call arguments:
        inputs: a dict of `left_ngrams` and `right_ngrams`, int32 [B, M] from `DualEncoderText.ngram_ids`. The loss
            also needs `left_ids` and `right_ids`, int32 [B], the numbers of the queries.

    Returns:
        A pair of float32 [B, dim], left and right, each row L2-normalised.

    Raises:
        ValueError: `scale` is not above 0.

    Example:
        >>> text = cv.DualEncoderText()
        >>> model = cv.SiameseText(text)
        >>> model.compile(keras.optimizers.Adagrad(0.1))
        >>> pairs = {
        ...     "left_ngrams": text.ngram_ids(tf.constant(["red car", "blue sea"])),
        ...     "right_ngrams": text.ngram_ids(tf.constant(["sports car", "ocean"])),
        ...     "left_ids": tf.constant([0, 1]),
        ...     "right_ids": tf.constant([2, 3]),
        ... }
        >>> history = model.fit(tf.data.Dataset.from_tensors(pairs), verbose=0)
    """

    def __init__(self, text_encoder: DualEncoderText, scale: float = 10.0, **kwargs: Any):
        super().__init__(**kwargs)
        if not scale > 0:
            raise ValueError(f"scale must be above 0, got {scale}: 10 is the default.")
        self.text_encoder = text_encoder
        self.scale = scale
        # "none", since the default sums over the batch; `compute_loss` takes the mean.
        loss = keras.losses.CategoricalCrossentropy(from_logits=True, reduction="none")
        self.task = tfrs.tasks.Retrieval(loss, temperature=1.0 / scale, remove_accidental_hits=True)
        self.mean_loss = keras.metrics.Mean(name="loss")

    def call(self, inputs: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        encode = self.text_encoder.encode
        return encode(inputs["left_ngrams"]), encode(inputs["right_ngrams"])

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None
    ) -> tf.Tensor:
        left, right = (gathered(part) for part in y_pred)
        left_ids, right_ids = gathered(x["left_ids"]), gathered(x["right_ids"])
        # Keeps a partner with the left query's own number: it is the true candidate.
        kept = (left_ids[:, tf.newaxis] != right_ids) | tf.eye(tf.size(left_ids), dtype=tf.bool)
        forward = self.task(left, right, candidate_ids=right_ids, score_mask=kept)
        backward = self.task(right, left, candidate_ids=left_ids, score_mask=tf.transpose(kept))
        loss = (tf.reduce_mean(forward) + tf.reduce_mean(backward)) / 2
        self.mean_loss.update_state(loss)
        return loss / num_replicas()  # the gradients of the replicas are summed

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        inputs, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            loss = self.compute_loss(inputs, y_pred=self(inputs, training=True))
        weights = self.trainable_variables
        gradients = tape.gradient(loss, weights)
        if compiled_by_xla(self.jit_compile):
            # An optimizer finds the distinct rows of a sparse gradient, whose number is not static.
            gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
        self.optimizer.apply_gradients(zip(gradients, weights, strict=True))
        return {"loss": self.mean_loss.result()}

    def get_config(self) -> dict[str, Any]:
        return {
            "text_encoder": keras.saving.serialize_keras_object(self.text_encoder),
            "scale": self.scale,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "SiameseText":
        encoder = keras.saving.deserialize_keras_object(config["text_encoder"])
        return cls(**{**config, "text_encoder": encoder})
