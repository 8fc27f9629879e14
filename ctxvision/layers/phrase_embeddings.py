"""Row numbers of a phrase table to the phrases' text embeddings."""

from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from ctxvision.layers.retrieval.vocabulary import with_room

_ROWS_AT_A_TIME = 1 << 17


@keras.saving.register_keras_serializable("ctxvision")
class PhraseEmbeddings(keras.layers.Layer):
    """Looks up the text embeddings that `DualEncoderText` has made of a whole vocabulary.

    A gather without any string op: a served model reads phrases this way, and a TPU can.

    Args:
        dim: width of the embeddings, 200 in the method.
        num_rows: rows kept; `assign` sets it. A copy made from the config has room for them.
        rows_dtype: "float32", "float16" or "int8", of the rows kept; `assign` sets it.

    Call arguments:
        ids: integer [...], row numbers of the phrase table; a number below 0 is no phrase.

    Returns:
        float32 [..., dim], L2-normalised; zeros for no phrase.

    Raises:
        ValueError: an argument out of its range, ids that are not integers, or a call before `assign`.

    Example:
        >>> layer = PhraseEmbeddings(dim=200)
        >>> layer.assign(table.text_embeddings)
        >>> layer(tf.constant([[4, 7, -1]])).shape
        TensorShape([1, 3, 200])
    """

    def __init__(self, dim: int = 200, num_rows: int = 0, rows_dtype: str = "float32", **kwargs: Any):
        # Float32 whatever the policy: the rows are normalised.
        super().__init__(**{**kwargs, "dtype": "float32"})
        if dim < 1:
            raise ValueError(f"dim must be at least 1, got {dim}: leave it out for the default.")
        self.dim = dim
        self.num_rows = num_rows
        self.rows_dtype = rows_dtype
        self.rows: tf.Variable | None = None
        if num_rows:
            self._keep_rows()

    def assign(self, text_embeddings: np.ndarray) -> None:
        """Keeps the embeddings [N, dim] of a vocabulary.

        Rows keep their dtype: float32, float16, or int8 of any scale (see `int8_rows`), which a call normalises again.
        There is room for later rows. Where the new rows fit, they replace the old ones in place; where they do not,
        functions that were traced before keep the old rows.

        Raises:
            ValueError: `text_embeddings` is not [N, dim].
        """
        shape = np.shape(text_embeddings)
        if len(shape) != 2 or shape[0] < 1 or shape[1] != self.dim:
            raise ValueError(
                f"text_embeddings must have shape [N, {self.dim}] with N at least 1, got {shape}: embed the phrases "
                f"with a DualEncoderText of that dim."
            )
        kind = str(text_embeddings.dtype)
        dtype = kind if kind in ("float16", "int8") else "float32"
        if self.rows is None or shape[0] > self.num_rows or dtype != self.rows_dtype:
            self.num_rows, self.rows_dtype = with_room(int(shape[0])), dtype
            self._keep_rows()
        for start in range(0, shape[0], _ROWS_AT_A_TIME):
            part = text_embeddings[start : start + _ROWS_AT_A_TIME]
            # In a strategy's scope there is a copy for each replica.
            for rows in tf.distribute.get_strategy().experimental_local_results(self.rows):
                rows[start : start + len(part)].assign(np.asarray(part, dtype))

    def _keep_rows(self) -> None:
        self.rows = tf.Variable(
            tf.zeros([self.num_rows, self.dim], self.rows_dtype), trainable=False, name="rows"
        )

    def call(self, ids: tf.Tensor) -> tf.Tensor:
        ids = tf.convert_to_tensor(ids)
        if not ids.dtype.is_integer:
            raise ValueError(
                f"ids must be row numbers (integer), got dtype {ids.dtype.name}: pass a table's rows."
            )
        if self.rows is None:
            raise ValueError("PhraseEmbeddings has no rows yet: call assign(text_embeddings) first.")
        rows = tf.cast(tf.gather(self.rows, tf.maximum(ids, 0)), tf.float32)
        if self.rows_dtype == "int8":
            rows = tf.math.l2_normalize(rows, axis=-1)
        return rows * tf.cast(ids >= 0, tf.float32)[..., tf.newaxis]

    def get_config(self) -> dict[str, Any]:
        config = {"dim": self.dim, "num_rows": self.num_rows, "rows_dtype": self.rows_dtype}
        return {**super().get_config(), **config}


def int8_rows(rows: np.ndarray) -> np.ndarray:
    """int8 [N, D] of float rows [N, D], each scaled so that its largest number is 127; zeros stay zeros."""
    largest = np.abs(rows).max(axis=1, keepdims=True).astype(np.float32)
    return np.round(rows * (127 / np.maximum(largest, 1e-12))).astype(np.int8)
