"""Looks up the text embeddings of phrases by their row numbers."""

from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from ctxvision._mapped import release
from ctxvision.layers._adopted import adopted, zeros_to_fill
from ctxvision.layers.dual_encoder_text import DualEncoderText
from ctxvision.layers.retrieval.vocabulary import with_room
from ctxvision.vocabulary.ngrams import MOST_HASH_BUCKETS, Ngrams

_ROWS_AT_A_TIME = 1 << 17


@keras.saving.register_keras_serializable("ctxvision")
class PhraseEmbeddings(keras.layers.Layer):
    """Maps row numbers of a phrase table to text embeddings, without string ops.

    With an encoder, the layer stores the hashed n-grams of each phrase and encodes those of the requested rows. It then
    stores 96 bytes per phrase for 48 n-grams, instead of 800 for an embedding, and shares the encoder's variables, which
    train with the model unless `trainable` is False. Without an encoder, it stores the embeddings of another text tower.

    Args:
        dim: width of the embeddings, 200 in the method; an encoder's own width replaces it.
        num_rows: the number of stored rows; `assign` sets it. A layer made from a config allocates them.
        rows_dtype: dtype of stored embeddings, "float32", "float16" or "int8", or "uint16" for n-grams; `assign` sets it.
        encoder: a `DualEncoderText` that encodes n-grams, or None to store embeddings.

    Call arguments:
        ids: integer [...], row numbers of the phrase table; a number below 0 means no phrase.

    Returns:
        float32 [..., dim], as assigned, int8 rows L2-normalised; zeros for no phrase.

    Raises:
        ValueError: an argument is out of range, ids are not integers, or a call comes before `assign`.

    Example:
        >>> encoder = cv.DualEncoderText(dim=200)
        >>> layer = cv.PhraseEmbeddings(encoder=encoder)
        >>> layer.assign(encoder.ngrams(["red fox"] * 10))
        >>> layer(tf.constant([[4, 7, -1]])).shape
        TensorShape([1, 3, 200])
    """

    def __init__(
        self,
        dim: int = 200,
        num_rows: int = 0,
        rows_dtype: str = "float32",
        encoder: DualEncoderText | None = None,
        **kwargs: Any,
    ):
        # Float32 under any dtype policy, because the embeddings are normalised.
        super().__init__(**{**kwargs, "dtype": "float32"})
        if dim < 1:
            raise ValueError(f"dim must be at least 1, got {dim}: leave it out for the default.")
        if encoder and encoder.hash_buckets > MOST_HASH_BUCKETS:
            raise ValueError(
                f"encoder must have at most {MOST_HASH_BUCKETS:,} hash buckets, got {encoder.hash_buckets:,}: make one "
                f"with fewer."
            )
        self.dim = encoder.dim if encoder else dim
        self.num_rows = num_rows
        self.rows_dtype = rows_dtype
        self.encoder = encoder
        self.rows: tf.Variable | None = None
        if num_rows:
            self._keep_rows()

    def assign(self, text: np.ndarray | Ngrams | None) -> None:
        """Stores the n-grams or the embeddings of a vocabulary, and allocates room for later rows.

        Embeddings keep their dtype: float32, float16, or int8 of any scale (see `int8_rows`), which calls normalise
        again; others are cast to float32. If the new rows fit in size and dtype, they replace the old ones in place.
        Otherwise, functions that were traced before keep the old rows.

        Args:
            text: `PhraseTable.ngrams` for a layer with an encoder, else embeddings [N, dim].

        Raises:
            ValueError: an array is not [N, dim] with N at least 1, or the encoder hashes n-grams in another way.
        """
        rows = self._checked(text)
        if self.encoder:
            dtype = "uint16"
        else:
            dtype = str(rows.dtype) if rows.dtype in (np.float16, np.int8) else "float32"
        if self.rows is None or len(rows) > self.num_rows or dtype != self.rows_dtype:
            self.num_rows, self.rows_dtype = with_room(len(rows)), dtype
            self._keep_rows(rows)
            return
        for start in range(0, len(rows), _ROWS_AT_A_TIME):
            part = rows[start : start + _ROWS_AT_A_TIME]
            # In a strategy's scope each replica has a copy.
            for kept in tf.distribute.get_strategy().experimental_local_results(self.rows):
                kept[start : start + len(part)].assign(np.asarray(part, dtype))
            release(rows)

    def _checked(self, text: np.ndarray | Ngrams | None) -> np.ndarray:
        width = self._width()
        if self.encoder:
            buckets = self.encoder.hash_buckets
            wanted = f"n-grams [N, {width}] of {buckets} hash buckets"
            if isinstance(text, Ngrams) and text.ids.shape[1] == width and text.hash_buckets == buckets:
                return text.ids
        else:
            wanted = f"embeddings [N, {width}] with N at least 1"
            if isinstance(text, np.ndarray) and text.ndim == 2 and len(text) and text.shape[1] == width:
                return text
        raise ValueError(
            f"text must be {wanted}, got {_described(text)}: use the text encoder of the table, or write the table again."
        )

    def _width(self) -> int:
        return self.encoder.max_ngrams + self.encoder.character_ngrams if self.encoder else self.dim

    def _keep_rows(self, rows: Any = ()) -> None:
        kept = zeros_to_fill([self.num_rows, self._width()], self.rows_dtype)
        for start in range(0, len(rows), _ROWS_AT_A_TIME):
            part = slice(start, start + _ROWS_AT_A_TIME)
            kept[part][: len(rows[part])] = rows[part]
            release(rows)
        self.rows = adopted(kept, "rows")

    def call(self, ids: tf.Tensor) -> tf.Tensor:
        ids = tf.convert_to_tensor(ids)
        if not ids.dtype.is_integer:
            raise ValueError(
                f"ids must be integer row numbers, got dtype {ids.dtype.name}: pass row numbers of the phrase table."
            )
        if self.rows is None:
            raise ValueError("PhraseEmbeddings has no rows yet: call assign(table.ngrams) first.")
        rows = tf.gather(self.rows, tf.maximum(ids, 0))
        if self.encoder:
            embeddings = self.encoder.encode(tf.cast(rows, tf.int32))
        else:
            embeddings = tf.cast(rows, tf.float32)
            if self.rows_dtype == "int8":
                embeddings = tf.math.l2_normalize(embeddings, axis=-1)
        return embeddings * tf.cast(ids >= 0, tf.float32)[..., tf.newaxis]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "dim": self.dim,
            "num_rows": self.num_rows,
            "rows_dtype": self.rows_dtype,
            "encoder": keras.saving.serialize_keras_object(self.encoder),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "PhraseEmbeddings":
        return cls(**{**config, "encoder": keras.saving.deserialize_keras_object(config["encoder"])})


def _described(text: np.ndarray | Ngrams | None) -> str:
    if isinstance(text, Ngrams):
        return f"n-grams {list(text.ids.shape)} of {text.hash_buckets} hash buckets"
    return "none" if text is None else f"an array {list(text.shape)}"


def int8_rows(rows: np.ndarray) -> np.ndarray:
    """Converts float rows [N, D] to int8, each scaled so that its largest absolute value is 127; zeros stay zeros."""
    largest = np.abs(rows).max(axis=1, keepdims=True).astype(np.float32)
    return np.round(rows * (127 / np.maximum(largest, 1e-12))).astype(np.int8)
