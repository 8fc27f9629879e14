"""Looks up the text embeddings of phrases by their row numbers."""

from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from ctxvision.layers.retrieval.vocabulary import with_room

_ROWS_AT_A_TIME = 1 << 17


@keras.saving.register_keras_serializable("ctxvision")
class PhraseEmbeddings(keras.layers.Layer):
    """Looks up the text embeddings that `DualEncoderText` computed for a whole vocabulary.

    The layer is a gather without string ops, which served models use and TPUs can run.

    Args:
        dim: width of the embeddings, 200 in the method.
        num_rows: the number of stored rows; `assign` sets it. A layer made from a config allocates them.
        rows_dtype: dtype of the stored rows, "float32", "float16" or "int8"; `assign` sets it.

    Call arguments:
        ids: integer [...], row numbers of the phrase table; a number below 0 means no phrase.

    Returns:
        float32 [..., dim], as assigned, int8 rows L2-normalised; zeros for no phrase.

    Raises:
        ValueError: an argument is out of range, ids are not integers, or a call comes before `assign`.

    Example:
        >>> layer = cv.PhraseEmbeddings(dim=200)
        >>> layer.assign(np.zeros([10, 200], np.float32))
        >>> layer(tf.constant([[4, 7, -1]])).shape
        TensorShape([1, 3, 200])
    """

    def __init__(self, dim: int = 200, num_rows: int = 0, rows_dtype: str = "float32", **kwargs: Any):
        # Float32 under any dtype policy, because the rows are normalised.
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
        """Stores the embeddings [N, dim] of a vocabulary, and allocates room for later rows.

        Rows keep their dtype: float32, float16, or int8 of any scale (see `int8_rows`), which calls normalise again;
        others are cast to float32. If the new rows fit in size and dtype, they replace the old ones in place.
        Otherwise, functions that were traced before keep the old rows.

        Raises:
            ValueError: `text_embeddings` is not [N, dim] with N at least 1.
        """
        shape = np.shape(text_embeddings)
        if len(shape) != 2 or shape[0] < 1 or shape[1] != self.dim:
            raise ValueError(
                f"text_embeddings must have shape [N, {self.dim}] with N at least 1, got {shape}: embed the phrases "
                f"with a DualEncoderText of dim {self.dim}."
            )
        kind = str(text_embeddings.dtype)
        dtype = kind if kind in ("float16", "int8") else "float32"
        if self.rows is None or shape[0] > self.num_rows or dtype != self.rows_dtype:
            self.num_rows, self.rows_dtype = with_room(int(shape[0])), dtype
            self._keep_rows()
        for start in range(0, shape[0], _ROWS_AT_A_TIME):
            part = text_embeddings[start : start + _ROWS_AT_A_TIME]
            # In a strategy's scope each replica has a copy.
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
                f"ids must be integer row numbers, got dtype {ids.dtype.name}: pass row numbers of the phrase table."
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
    """Converts float rows [N, D] to int8, each scaled so that its largest absolute value is 127; zeros stay zeros."""
    largest = np.abs(rows).max(axis=1, keepdims=True).astype(np.float32)
    return np.round(rows * (127 / np.maximum(largest, 1e-12))).astype(np.int8)
