"""What is seen and what is said, fused into label probabilities."""

from typing import Any

import tensorflow as tf
import tf_keras as keras

from ctxvision.layers._batch_norm import batch_norm
from ctxvision.layers._bilinear import LowRankBilinear, TuckerFusion

FUSIONS = ("concat", "mlb", "mutan")


@keras.saving.register_keras_serializable("ctxvision")
class ContextFusion(keras.layers.Layer):
    """A multi-stage MLP over the visual and the context vector (section 3.5).

    Each modality is standardised and mapped to `hidden` units on its own; the results x and y are fused to a
    further `hidden` units, and classified. Given one modality alone, whatever the fusion, the second stage is that
    of "concat": the single-modality baseline of the tables.

    | fusion | second stage | paper |
    |---|---|---|
    | `"concat"` | relu(W [x; y] + b) | section 3.5 |
    | `"mlb"` | Pᵀ(tanh(Ux + b_x) ∘ tanh(Vy + b_y)) + b | Kim et al. 2017, Hadamard product for low-rank bilinear pooling |
    | `"mutan"` | Σ_r (x W_r + b_r) ∘ (y V_r + c_r) | Ben-younes et al. 2017, multimodal Tucker fusion |

    Args:
        num_labels: L, at least 2.
        fusion: how modalities meet, as above; all but `"concat"` take at most two.
        activation: `"softmax"` for one label a picture, `"sigmoid"` for several.
        hidden: units of each stage.
        dropout: rate after each stage, in [0, 1).
        seed: of initial weights and dropout.
        rank: width of the product in `"mlb"`, by default two thirds of `hidden`, which takes as many parameters as
            `"concat"`; number R of products in `"mutan"`, by default 5. `"concat"` has none.

    Call arguments:
        inputs: a list of float tensors [B, D_i]: [visual, context], or one of them alone.

    Returns:
        float32 [B, L] probabilities; under softmax each row sums to 1. Outside of training they are
        (1 - u) · softmax + u / L; u, the weight `uniform_share`, is 0 until calibration sets it.

    Raises:
        ValueError: an argument out of its range, or inputs that are not a list of rank-2 tensors.

    Example:
        >>> ContextFusion(num_labels=5)([tf.zeros([2, 128]), tf.zeros([2, 200])]).shape
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
        rank: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if num_labels < 2:
            raise ValueError(f"num_labels must be at least 2, got {num_labels}: a classifier needs a choice.")
        if fusion not in FUSIONS:
            raise ValueError(f"fusion must be one of {', '.join(FUSIONS)}, got {fusion!r}: choose one.")
        if activation not in ("softmax", "sigmoid"):
            raise ValueError(
                f"activation must be 'softmax' (one label a picture) or 'sigmoid' (several), got {activation!r}: choose one."
            )
        if hidden < 1 or not 0 <= dropout < 1:
            raise ValueError(
                f"hidden must be at least 1 and dropout in [0, 1), got {hidden} and {dropout}: use 256 and 0.5."
            )
        if rank is not None and (fusion == "concat" or rank < 1):
            raise ValueError(
                f"rank must be at least 1, and is for fusion 'mlb' and 'mutan' alone, got {rank} with {fusion!r}: "
                "leave it out for the default."
            )
        self.num_labels = num_labels
        self.fusion = fusion
        self.activation = activation
        self.hidden = hidden
        self.dropout = dropout
        self.seed = seed
        self.rank = rank

    def build(self, input_shape: Any) -> None:
        if not isinstance(input_shape, (list, tuple)) or any(len(tuple(s)) != 2 for s in input_shape):
            raise ValueError(
                f"inputs must be a list of tensors [B, D], got shapes {input_shape}: pass [visual, context]."
            )
        if self.fusion != "concat" and len(input_shape) > 2:
            raise ValueError(
                f"fusion {self.fusion!r} takes at most two inputs, got {len(input_shape)}: use 'concat' for more."
            )

        def dense(units: int, part: int, **kwargs: Any) -> keras.layers.Layer:
            initializer = keras.initializers.GlorotUniform(seed=self.seed * 1000 + part)
            return keras.layers.Dense(units, kernel_initializer=initializer, dtype="float32", **kwargs)

        def drop(part: int) -> keras.layers.Layer:
            seed = self.seed * 1000 + part
            return keras.layers.Dropout(self.dropout, seed=seed, rng_type="stateful", dtype="float32")

        self.standardize = [
            batch_norm(scale=False, center=False, momentum=0.95, dtype="float32") for _ in input_shape
        ]
        self.stage_1 = [dense(self.hidden, i, activation="relu") for i in range(len(input_shape))]
        self.dropout_1 = [drop(i) for i in range(len(input_shape))]
        bilinear = self.fusion != "concat" and len(input_shape) == 2
        self.stage_2 = self._bilinear() if bilinear else dense(self.hidden, 10, activation="relu")
        self.dropout_2 = drop(10)
        self.output_stage = dense(self.num_labels, 20, activation=self.activation)
        if self.activation == "softmax":
            self.uniform_share = self.add_weight(
                name="uniform_share", shape=[], dtype="float32", initializer="zeros", trainable=False
            )
        super().build(input_shape)

    def call(self, inputs: list[tf.Tensor], training: bool | None = None) -> tf.Tensor:
        probabilities = self.output_stage(self.penultimate(inputs, training=training))
        if training or self.activation == "sigmoid":
            return probabilities
        return (1 - self.uniform_share) * probabilities + self.uniform_share / self.num_labels

    def penultimate(self, inputs: list[tf.Tensor], training: bool | None = None) -> tf.Tensor:
        """Float32 [B, hidden], of which the last layer makes the labels' logits."""
        stages = []
        parts = zip(inputs, self.standardize, self.stage_1, self.dropout_1, strict=True)
        for value, standardize, stage, drop in parts:
            value = standardize(tf.cast(value, tf.float32), training=training)
            stages.append(drop(stage(value), training=training))
        bilinear = isinstance(self.stage_2, (LowRankBilinear, TuckerFusion))
        fused = self.stage_2(stages if bilinear else tf.concat(stages, axis=-1))
        return self.dropout_2(fused, training=training)

    def _bilinear(self) -> keras.layers.Layer:
        seed = self.seed * 1000 + 100
        if self.fusion == "mlb":
            return LowRankBilinear(self.hidden, self.rank or max(1, 2 * self.hidden // 3), seed)
        return TuckerFusion(self.hidden, self.rank or 5, seed)

    def restart_dropout(self, seed: int) -> None:
        """Dropout continues as in a new layer of this seed, also in functions that are traced already."""
        parts = [*enumerate(self.dropout_1), (10, self.dropout_2)]
        for part, drop in parts:
            # Keras has no public way to reset the generator of a layer.
            drop._random_generator._maybe_init()
            drop._random_generator._generator.reset_from_seed(seed * 1000 + part)

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
            "rank": self.rank,
        }
