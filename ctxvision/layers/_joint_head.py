"""An MLP over one or several modalities, a member of `ContextFusion`."""

from typing import Any

import tensorflow as tf
import tf_keras as keras

from ctxvision.layers._batch_norm import batch_norm
from ctxvision.layers._bilinear import LowRankBilinear, TuckerFusion


class JointHead(keras.layers.Layer):
    """Standardises each modality, applies hidden stages, and computes logits.

    The first hidden stage maps each modality to `hidden` units; the second fuses them into another `hidden` units.

    Args:
        num_labels, fusion, hidden, dropout, seed, rank: as in `ContextFusion`; `fusion` is "concat", "mlb" or "mutan".
        stages: 0, 1 or 2; several modalities need 2.

    Call arguments:
        inputs: a list of float tensors [B, D_i].

    Returns:
        float32 [B, L] logits.
    """

    def __init__(
        self,
        num_labels: int,
        fusion: str,
        hidden: int,
        dropout: float,
        seed: int,
        rank: int | None,
        stages: int = 2,
        **kwargs: Any,
    ):
        # Float32 under any dtype policy, as in `ContextFusion`.
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.num_labels = num_labels
        self.fusion = fusion
        self.hidden = hidden
        self.dropout = dropout
        self.seed = seed
        self.rank = rank
        self.stages = stages

    def build(self, input_shape: Any) -> None:
        def dense(units: int, part: int, **kwargs: Any) -> keras.layers.Layer:
            initializer = keras.initializers.GlorotUniform(seed=self.seed * 1000 + part)
            return keras.layers.Dense(
                units, **{"kernel_initializer": initializer, "dtype": "float32", **kwargs}
            )

        def drop(part: int) -> keras.layers.Layer:
            seed = self.seed * 1000 + part
            return keras.layers.Dropout(self.dropout, seed=seed, rng_type="stateful", dtype="float32")

        self.standardize = [
            batch_norm(scale=False, center=False, momentum=0.95, dtype="float32") for _ in input_shape
        ]
        parts = range(len(input_shape)) if self.stages else ()
        self.stage_1 = [dense(self.hidden, i, activation="relu") for i in parts]
        # Dropout follows each hidden stage; without hidden stages, it follows standardisation.
        self.dropout_1 = [drop(i) for i in range(len(input_shape))]
        self.stage_2, self.dropout_2 = None, None
        if self.stages == 2:
            bilinear = self.fusion != "concat" and len(input_shape) == 2
            self.stage_2 = self._bilinear() if bilinear else dense(self.hidden, 10, activation="relu")
            self.dropout_2 = drop(10)
        # A linear head has a single optimum: zeros start near it, so few steps are enough.
        initial = {} if self.stages else {"kernel_initializer": "zeros"}
        self.output_stage = dense(self.num_labels, 20, **initial)
        super().build(input_shape)

    def call(self, inputs: list[tf.Tensor], training: bool | None = None) -> tf.Tensor:
        return self.output_stage(self.penultimate(inputs, training=training))

    def penultimate(self, inputs: list[tf.Tensor], training: bool | None = None) -> tf.Tensor:
        """Computes the input of the last layer: float32 [B, hidden], or [B, D] without hidden stages."""
        stages = []
        for i, (value, standardize, drop) in enumerate(
            zip(inputs, self.standardize, self.dropout_1, strict=True)
        ):
            value = standardize(tf.cast(value, tf.float32), training=training)
            value = self.stage_1[i](value) if self.stages else value
            stages.append(drop(value, training=training))
        if self.stage_2 is None or self.dropout_2 is None:
            return stages[0]
        bilinear = isinstance(self.stage_2, (LowRankBilinear, TuckerFusion))
        fused = self.stage_2(stages if bilinear else tf.concat(stages, axis=-1))
        return self.dropout_2(fused, training=training)

    def lower_stages(self) -> list[keras.layers.Layer]:
        """Lists all layers with weights except the last one."""
        return [*self.standardize, *self.stage_1, *([] if self.stage_2 is None else [self.stage_2])]

    def _bilinear(self) -> keras.layers.Layer:
        seed = self.seed * 1000 + 100
        if self.fusion == "mlb":
            return LowRankBilinear(self.hidden, self.rank or max(1, 2 * self.hidden // 3), seed)
        return TuckerFusion(self.hidden, self.rank or 5, seed)

    def restart_dropout(self, seed: int) -> None:
        """Resets dropout to the state of a new layer with this seed, also in traced functions."""
        parts = [*enumerate(self.dropout_1), *([] if self.dropout_2 is None else [(10, self.dropout_2)])]
        for part, drop in parts:
            # Keras has no public way to reset a layer's generator.
            drop._random_generator._maybe_init()
            drop._random_generator._generator.reset_from_seed(seed * 1000 + part)
