"""Phrases to a space in which queries that belong together lie near."""

from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_text as tf_text
import tf_keras as keras

from ctxvision.layers.retrieval.vocabulary import with_room

_ROWS_AT_A_TIME = 1 << 17
# Letters of a character n-gram, a word's start "<" and end ">" among them.
_CHARACTERS = 3


@keras.saving.register_keras_serializable("ctxvision")
class DualEncoderText(keras.layers.Layer):
    """Embeds phrases by their hashed unigrams and bigrams with attention pooling (section 3.3).

    A phrase is lower-cased, brought to Unicode's NFC and split at white space. Each of its n-grams g has a learned
    vector v(g); the phrase is the average of them under the weights softmax(v(g) · a) with one learned vector a,
    L2-normalised. `SiameseText` trains the layer on pairs of queries that share a picture.

    With `character_ngrams` the runs of three letters in each word are n-grams as well (Bojanowski et al. 2017), so
    that a misspelt or unseen word shares most of its n-grams with those it resembles.

    The embeddings of a whole vocabulary can be folded in: the layer then also maps row numbers to embeddings, by a
    gather and without any string op.

    Args:
        dim: width of the embedding, 200 in the method.
        hash_buckets: rows of the n-gram table; n-grams whose hashes collide share a row.
        max_ngrams: n-grams of words read of each phrase, unigrams first (16: phrases of up to 8 words in full).
        character_ngrams: n-grams of characters read of each phrase besides, 0 for none.
        folded_rows: rows kept for `fold`, which sets it; a copy made from the config then has room for them.
        folded_dtype: "float32", "float16" or "int8", of the rows kept for `fold`, which sets it.

    Call arguments:
        inputs: string [...], phrases of any language; or integer [...], row numbers of the folded embeddings,
            where a number below 0 is no phrase.

    Returns:
        float32 [..., dim], L2-normalised; zeros for `""`, for white space and for no phrase.

    Raises:
        ValueError: an argument out of its range, inputs that are neither strings nor integers, or row numbers
            before `fold`.

    Example:
        >>> DualEncoderText()(tf.constant([["golden fish", "goldfish", ""]])).shape
        TensorShape([1, 3, 200])
    """

    def __init__(
        self,
        dim: int = 200,
        hash_buckets: int = 2**15,
        max_ngrams: int = 16,
        character_ngrams: int = 0,
        folded_rows: int = 0,
        folded_dtype: str = "float32",
        **kwargs: Any,
    ):
        # Float32 whatever the policy: a softmax and a normalisation.
        super().__init__(**{**kwargs, "dtype": "float32"})
        for name, value in (("dim", dim), ("hash_buckets", hash_buckets), ("max_ngrams", max_ngrams)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}: leave it out for the default.")
        if character_ngrams < 0:
            raise ValueError(
                f"character_ngrams must be at least 0, got {character_ngrams}: 32 reads phrases of 30 letters in full."
            )
        self.dim = dim
        self.hash_buckets = hash_buckets
        self.max_ngrams = max_ngrams
        self.character_ngrams = character_ngrams
        self.folded_rows = folded_rows
        self.folded_dtype = folded_dtype
        # Row 0 is padding's; its weight is 0, so that it never learns. Small, or Adagrad takes long to move them.
        self.ngram_table = self.add_weight(
            name="ngram_table",
            shape=(hash_buckets + 1, dim),
            initializer=keras.initializers.RandomNormal(stddev=0.02, seed=0),
        )
        self.attention = self.add_weight(name="attention", shape=(dim,), initializer="zeros")
        self.folded: tf.Variable | None = None
        if folded_rows:
            self._keep_rows()

    def ngram_ids(self, phrases: tf.Tensor) -> tf.Tensor:
        """Hashed n-grams of string [...]: int32 [..., max_ngrams + character_ngrams] in 1..hash_buckets, 0 is padding.

        Unigrams come first, then bigrams, then characters.
        """
        phrases = tf.convert_to_tensor(phrases, tf.string)
        flat = tf.strings.lower(tf.reshape(phrases, [-1]), encoding="utf-8")
        words = tf_text.WhitespaceTokenizer().tokenize(tf_text.normalize_utf8(flat, "NFC"))
        bigrams = tf_text.ngrams(words, 2, reduction_type=tf_text.Reduction.STRING_JOIN)
        ids = self._hashed(tf.concat([words, bigrams], axis=1), self.max_ngrams)
        if self.character_ngrams:
            ids = tf.concat([ids, self._hashed(_character_ngrams(words), self.character_ngrams)], axis=1)
        return tf.reshape(ids, tf.concat([tf.shape(phrases), [ids.shape[1]]], axis=0))

    def _hashed(self, ngrams: tf.RaggedTensor, most: int) -> tf.Tensor:
        """int32 [N, most] of string [N, ragged]."""
        ids = tf.strings.to_hash_bucket_fast(ngrams[:, :most], self.hash_buckets) + 1
        return tf.ensure_shape(tf.cast(ids.to_tensor(0, shape=[None, most]), tf.int32), [None, most])

    def encode(self, ids: tf.Tensor) -> tf.Tensor:
        """Embeddings float32 [..., dim], L2-normalised, of `ngram_ids` [..., M]; zeros where all is padding."""
        present = ids > 0
        vectors = tf.gather(self.ngram_table, ids)
        scores = tf.where(present, tf.linalg.matvec(vectors, self.attention), -1e9)
        weights = tf.nn.softmax(scores) * tf.cast(present, tf.float32)
        return tf.math.l2_normalize(tf.einsum("...m,...md->...d", weights, vectors), axis=-1)

    def fold(self, text_embeddings: np.ndarray) -> None:
        """Keeps the embeddings [N, dim] of a vocabulary, so that the layer takes row numbers as well.

        They are kept as they are, float32, float16 or int8 of any scale (as of `int8_rows`; normalised again when they
        are looked up), with some room for rows that come later: folding again what fits replaces them in place;
        otherwise functions that were traced before keep the old rows.

        Raises:
            ValueError: `text_embeddings` is not [N, dim].
        """
        shape = np.shape(text_embeddings)
        if len(shape) != 2 or shape[0] < 1 or shape[1] != self.dim:
            raise ValueError(
                f"text_embeddings must have shape [N, {self.dim}] with N at least 1, got {shape}: embed the phrases "
                f"with this layer."
            )
        kind = str(text_embeddings.dtype)
        dtype = kind if kind in ("float16", "int8") else "float32"
        if self.folded is None or shape[0] > self.folded_rows or dtype != self.folded_dtype:
            self.folded_rows, self.folded_dtype = with_room(int(shape[0])), dtype
            self._keep_rows()
        for start in range(0, shape[0], _ROWS_AT_A_TIME):
            part = text_embeddings[start : start + _ROWS_AT_A_TIME]
            # In a strategy's scope there is a copy for each replica.
            for folded in tf.distribute.get_strategy().experimental_local_results(self.folded):
                folded[start : start + len(part)].assign(np.asarray(part, dtype))

    def _keep_rows(self) -> None:
        rows = tf.zeros([self.folded_rows, self.dim], self.folded_dtype)
        self.folded = tf.Variable(rows, trainable=False, name="folded")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        inputs = tf.convert_to_tensor(inputs)
        if inputs.dtype == tf.string:
            return self.encode(self.ngram_ids(inputs))
        if not inputs.dtype.is_integer:
            raise ValueError(
                f"inputs must be phrases (string) or row numbers (integer), got dtype {inputs.dtype.name}: pass "
                f"either."
            )
        if self.folded is None:
            raise ValueError(
                "inputs are row numbers, but no text embeddings are folded in: call fold(text_embeddings) first, "
                "or pass phrases as strings."
            )
        rows = tf.cast(tf.gather(self.folded, tf.maximum(inputs, 0)), tf.float32)
        if self.folded_dtype == "int8":
            rows = tf.math.l2_normalize(rows, axis=-1)
        return rows * tf.cast(inputs >= 0, tf.float32)[..., tf.newaxis]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "dim": self.dim,
            "hash_buckets": self.hash_buckets,
            "max_ngrams": self.max_ngrams,
            "character_ngrams": self.character_ngrams,
            "folded_rows": self.folded_rows,
            "folded_dtype": self.folded_dtype,
        }


def int8_rows(rows: np.ndarray) -> np.ndarray:
    """int8 [N, D] of float rows [N, D], each scaled so that its largest number is 127; zeros stay zeros."""
    largest = np.abs(rows).max(axis=1, keepdims=True).astype(np.float32)
    return np.round(rows * (127 / np.maximum(largest, 1e-12))).astype(np.int8)


def _character_ngrams(words: tf.RaggedTensor) -> tf.RaggedTensor:
    """string [N, ragged] of [N, words]: "fox" -> "#<fo", "#fox", "#ox>", which no word is."""
    bounded = tf.strings.join(["<", words.flat_values, ">"])
    characters = tf.strings.unicode_split(bounded, "UTF-8")
    ngrams = tf_text.ngrams(
        characters, _CHARACTERS, reduction_type=tf_text.Reduction.STRING_JOIN, string_separator=""
    )
    marked = ngrams.with_flat_values(tf.strings.join(["#", ngrams.flat_values]))
    return words.with_flat_values(marked).merge_dims(1, 2)
