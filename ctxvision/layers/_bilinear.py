"""Bilinear forms of two modalities, for `ContextFusion`."""

from typing import Any

import tensorflow as tf
import tf_keras as keras


class LowRankBilinear(keras.layers.Layer):
    """MLB (Kim et al. 2017, equation 8 with biases): z = Pᵀ(tanh(Ux + b_x) ∘ tanh(Vy + b_y)) + b.

    Args:
        units: width of z.
        rank: width of the product.
        seed: seed of the initial weights.

    Call arguments:
        inputs: [x, y], float32 [B, D] each.

    Returns:
        float32 [B, units].
    """

    def __init__(self, units: int, rank: int, seed: int):
        super().__init__(dtype="float32")
        self.u = _dense(rank, seed, activation="tanh")
        self.v = _dense(rank, seed + 1, activation="tanh")
        self.p = _dense(units, seed + 2)

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        x, y = inputs
        return self.p(self.u(x) * self.v(y))


class TuckerFusion(keras.layers.Layer):
    """MUTAN (Ben-younes et al. 2017, equations 8 and 9): z = Σ_r (x W_r + b_r) ∘ (y V_r + c_r).

    This is a Tucker decomposition of the bilinear form whose core has slices of rank R. The layers before hold the
    factor matrices of x and y, the layer after holds that of z.

    Args:
        units: width of z.
        rank: R.
        seed: seed of the initial weights.

    Call arguments:
        inputs: [x, y], float32 [B, D] each.

    Returns:
        float32 [B, units].
    """

    def __init__(self, units: int, rank: int, seed: int):
        super().__init__(dtype="float32")
        self.w = [_dense(units, seed + 2 * r) for r in range(rank)]
        self.v = [_dense(units, seed + 2 * r + 1) for r in range(rank)]

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        x, y = inputs
        return tf.add_n([w(x) * v(y) for w, v in zip(self.w, self.v, strict=True)])


def _dense(units: int, seed: int, **kwargs: Any) -> keras.layers.Layer:
    initializer = keras.initializers.GlorotUniform(seed=seed)
    return keras.layers.Dense(units, kernel_initializer=initializer, dtype="float32", **kwargs)
