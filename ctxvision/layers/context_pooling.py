"""The embeddings of a picture's phrases to one context vector."""

from typing import Any

import tensorflow as tf
import tf_keras as keras


@keras.saving.register_keras_serializable("ctxvision")
class ContextPooling(keras.layers.Layer):
    """Averages the phrases' text embeddings (section 3.3), plainly or weighted by similarity.

    Args:
        weighting: `"uniform"` is the method's plain average; `"similarity"` weighs phrase i by
            softmax(sharpness · score)_i, so that a long list of phrases can be used.
        sharpness: the factor before the softmax, above 0; used by `"similarity"` alone.

    Call arguments:
        inputs: [phrase embeddings [B, k, D], cosine scores [B, k]]. A phrase whose score is -1 is not there
            and weighs nothing.

    Returns:
        float32 [B, D], not normalised: its length says how well the phrases agree. Zeros for a row without
        phrases.

    Raises:
        ValueError: an unknown weighting or a sharpness that is not above 0.
    """

    def __init__(self, weighting: str = "similarity", sharpness: float = 16.0, **kwargs: Any):
        super().__init__(**kwargs)
        if weighting not in ("uniform", "similarity"):
            raise ValueError(f"weighting must be 'uniform' or 'similarity', got {weighting!r}: choose one.")
        if not sharpness > 0:
            raise ValueError(f"sharpness must be above 0, got {sharpness}: 16 is the default.")
        self.weighting = weighting
        self.sharpness = sharpness

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        embeddings, scores = inputs
        present = tf.cast(scores > -1.0, tf.float32)
        weights = present
        if self.weighting == "similarity":
            best = tf.reduce_max(scores, axis=-1, keepdims=True)
            weights = present * tf.exp(self.sharpness * (scores - best))
        weights = tf.math.divide_no_nan(weights, tf.reduce_sum(weights, axis=-1, keepdims=True))
        return tf.einsum("bk,bkd->bd", weights, embeddings)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "weighting": self.weighting, "sharpness": self.sharpness}
