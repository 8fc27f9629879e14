"""What is seen and what is said, fused into label probabilities."""

from typing import Any

import tensorflow as tf
import tf_keras as keras


@keras.saving.register_keras_serializable("ctxvision")
class ContextFusion(keras.layers.Layer):
    """A multi-stage MLP over the visual and the context vector (section 3.5).

    Each modality is standardised, mapped to `hidden` units on its own, and the results are concatenated and
    classified by a further hidden layer. Given one modality alone, the same layers are the single-modality
    baseline of the tables.

    Args:
        num_labels: L, at least 2.
        fusion: how modalities meet: `"concat"`.
        activation: `"softmax"` for one label a picture, `"sigmoid"` for several.
        hidden: units of each stage.
        dropout: rate after each stage, in [0, 1).
        seed: of initial weights and dropout.

    Call arguments:
        inputs: a list of float tensors [B, D_i]: [visual, context], or one of them alone.

    Returns:
        float32 [B, L] probabilities; under softmax each row sums to 1.

    Raises:
        ValueError: an argument out of its range, or inputs that are not a list of rank-2 tensors.

    Example:
        >>> ContextFusion(num_labels=5)([tf.zeros([2, 192]), tf.zeros([2, 200])]).shape
        TensorShape([2, 5])
    """

    def __init__(
        self,
        num_labels: int,
        fusion: str = "concat",
        activation: str = "softmax",
        hidden: int = 256,
        dropout: float = 0.5,
        seed: int = 0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if num_labels < 2:
            raise ValueError(f"num_labels must be at least 2, got {num_labels}: a classifier needs a choice.")
        if fusion != "concat":
            raise ValueError(f"fusion must be 'concat', got {fusion!r}: leave the argument out.")
        if activation not in ("softmax", "sigmoid"):
            raise ValueError(
                f"activation must be 'softmax' (one label a picture) or 'sigmoid' (several), got {activation!r}: choose one."
            )
        if hidden < 1 or not 0 <= dropout < 1:
            raise ValueError(
                f"hidden must be at least 1 and dropout in [0, 1), got {hidden} and {dropout}: use 256 and 0.5."
            )
        self.num_labels = num_labels
        self.fusion = fusion
        self.activation = activation
        self.hidden = hidden
        self.dropout = dropout
        self.seed = seed

    def build(self, input_shape: Any) -> None:
        if not isinstance(input_shape, (list, tuple)) or any(len(tuple(s)) != 2 for s in input_shape):
            raise ValueError(
                f"inputs must be a list of tensors [B, D], got shapes {input_shape}: pass [visual, context]."
            )

        def dense(units: int, part: int, **kwargs: Any) -> keras.layers.Layer:
            initializer = keras.initializers.GlorotUniform(seed=self.seed * 1000 + part)
            return keras.layers.Dense(units, kernel_initializer=initializer, dtype="float32", **kwargs)

        def drop(part: int) -> keras.layers.Layer:
            return keras.layers.Dropout(self.dropout, seed=self.seed * 1000 + part, dtype="float32")

        self.standardize = [
            keras.layers.BatchNormalization(scale=False, center=False, momentum=0.95, dtype="float32")
            for _ in input_shape
        ]
        self.stage_1 = [dense(self.hidden, i, activation="relu") for i in range(len(input_shape))]
        self.dropout_1 = [drop(i) for i in range(len(input_shape))]
        self.stage_2 = dense(self.hidden, 10, activation="relu")
        self.dropout_2 = drop(10)
        self.output_stage = dense(self.num_labels, 20, activation=self.activation)
        super().build(input_shape)

    def call(self, inputs: list[tf.Tensor], training: bool | None = None) -> tf.Tensor:
        stages = []
        parts = zip(inputs, self.standardize, self.stage_1, self.dropout_1, strict=True)
        for value, standardize, stage, drop in parts:
            value = standardize(tf.cast(value, tf.float32), training=training)
            stages.append(drop(stage(value), training=training))
        fused = self.dropout_2(self.stage_2(tf.concat(stages, axis=-1)), training=training)
        return self.output_stage(fused)

    def average_input(self, modality: int) -> tf.Tensor:
        """Float32 [D], the mean that input number `modality` had in training: what says nothing."""
        return self.standardize[modality].moving_mean

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_labels": self.num_labels,
            "fusion": self.fusion,
            "activation": self.activation,
            "hidden": self.hidden,
            "dropout": self.dropout,
            "seed": self.seed,
        }
