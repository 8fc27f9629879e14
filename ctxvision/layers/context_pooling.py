"""Pools the embeddings of a picture's phrases into one context vector."""

from typing import Any

import tensorflow as tf
import tf_keras as keras

WEIGHTINGS = ("uniform", "similarity", "attention")


@keras.saving.register_keras_serializable("ctxvision")
class ContextPooling(keras.layers.Layer):
    """Averages the phrases' text embeddings e_i (section 3.3), plainly or weighted by their cosine scores s_i.

    Args:
        weighting: how phrases are weighted.
            - `"uniform"` is the method's plain average.
            - `"similarity"` weights phrase i by softmax(sharpness · s)_i, so that long lists of phrases can be used.
            - `"attention"` weights phrase i by softmax(sharpness · c · s + e a)_i with a learned vector a and a learned
              factor c. Before training, a is 0 and c is 1, which equals `"similarity"`.
        sharpness: the factor before the softmax, above 0; `"uniform"` ignores it.

    Call arguments:
        inputs: [phrase embeddings [B, k, D], cosine scores [B, k]]. A score of -1 means that there is no phrase; its
            weight is 0.

    Returns:
        float32 [B, D], not normalised: the length tells how well the phrases agree. Zeros for a row without
        phrases.

    Raises:
        ValueError: an unknown weighting or a sharpness that is not above 0.

    Example:
        >>> pooling = cv.ContextPooling(weighting="uniform")
        >>> pooling([tf.ones([1, 3, 200]), tf.constant([[0.9, 0.5, -1.0]])]).shape
        TensorShape([1, 200])
    """

    def __init__(self, weighting: str = "similarity", sharpness: float = 16.0, **kwargs: Any):
        # Float32 under any dtype policy, because the softmax distinguishes scores that are close together.
        super().__init__(**{**kwargs, "dtype": "float32"})
        if weighting not in WEIGHTINGS:
            raise ValueError(
                f"weighting must be one of {', '.join(WEIGHTINGS)}, got {weighting!r}: choose one of these."
            )
        if not sharpness > 0:
            raise ValueError(f"sharpness must be above 0, got {sharpness}: use, for example, 16.")
        self.weighting = weighting
        self.sharpness = sharpness

    def build(self, input_shape: Any) -> None:
        if self.weighting == "attention":
            width = input_shape[0][-1]
            self.attention = self.add_weight("attention", (width,), tf.float32, initializer="zeros")
            self.score_factor = self.add_weight("score_factor", (), tf.float32, initializer="ones")
        super().build(input_shape)

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        embeddings, scores = inputs
        present = tf.cast(scores > -1.0, tf.float32)
        logits = tf.zeros_like(scores)
        if self.weighting != "uniform":
            logits = self.sharpness * scores
        if self.weighting == "attention":
            logits = self.score_factor * logits + tf.linalg.matvec(embeddings, self.attention)
        logits = tf.where(present > 0, logits, logits.dtype.min)
        weights = present * tf.nn.softmax(logits)
        return tf.einsum("bk,bkd->bd", weights, embeddings)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "weighting": self.weighting, "sharpness": self.sharpness}
