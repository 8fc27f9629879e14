"""Embeds phrases in a space where related queries are close."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_text as tf_text
import tf_keras as keras

from ctxvision.vocabulary import Ngrams

# Length of a character n-gram, including the marks "<" and ">" for a word's start and end.
_CHARACTERS = 3
_PHRASES_AT_A_TIME = 8192


@keras.saving.register_keras_serializable("ctxvision")
class DualEncoderText(keras.layers.Layer):
    """Embeds phrases by their hashed unigrams and bigrams with attention pooling (section 3.3).

    A phrase is lower-cased, normalised to Unicode's NFC and split at white space. Each n-gram g has a learned vector
    v(g). The embedding of the phrase is the average of these vectors with the weights softmax(v(g) · a), where a is a
    learned vector, and is L2-normalised. `SiameseText` trains the layer on pairs of queries that share a picture.

    With `character_ngrams`, all runs of three letters in each word are n-grams too (Bojanowski et al. 2017), so that a
    misspelt or unseen word shares most of its n-grams with similar words.

    `PhraseEmbeddings` encodes the phrases of a vocabulary from the n-grams that a `PhraseTable` stores.

    Args:
        dim: width of the embedding, 200 in the method.
        hash_buckets: rows of the n-gram table; n-grams with equal hashes share a row.
        max_ngrams: the largest number of word n-grams per phrase, unigrams first (16 covers phrases of up to 8 words).
        character_ngrams: the largest number of character n-grams per phrase; 0 uses none.

    Call arguments:
        phrases: string [...], in any language.

    Returns:
        float32 [..., dim], L2-normalised; zeros for `""` and for white space.

    Raises:
        ValueError: an argument is out of range, or the phrases are not strings.

    Example:
        >>> text = cv.DualEncoderText(dim=200)
        >>> text(tf.constant([["golden fish", "goldfish", ""]])).shape
        TensorShape([1, 3, 200])
    """

    def __init__(
        self,
        dim: int = 200,
        hash_buckets: int = 2**15,
        max_ngrams: int = 16,
        character_ngrams: int = 0,
        **kwargs: Any,
    ):
        # Float32 under any dtype policy, because the layer computes a softmax and a normalisation.
        super().__init__(**{**kwargs, "dtype": "float32"})
        for name, value in (("dim", dim), ("hash_buckets", hash_buckets), ("max_ngrams", max_ngrams)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}: leave it out for the default.")
        if character_ngrams < 0:
            raise ValueError(
                f"character_ngrams must be at least 0, got {character_ngrams}: use, for example, 32 for phrases of "
                "30 letters."
            )
        self.dim = dim
        self.hash_buckets = hash_buckets
        self.max_ngrams = max_ngrams
        self.character_ngrams = character_ngrams
        # Row 0 is padding; its weight is 0, so it never learns. Small initial values let Adagrad move them quickly.
        self.ngram_table = self.add_weight(
            name="ngram_table",
            shape=(hash_buckets + 1, dim),
            initializer=keras.initializers.RandomNormal(stddev=0.02, seed=0),
        )
        self.attention = self.add_weight(name="attention", shape=(dim,), initializer="zeros")

    def ngram_ids(self, phrases: tf.Tensor) -> tf.Tensor:
        """Hashes the n-grams of string [...] to int32 [..., max_ngrams + character_ngrams] in 1..hash_buckets, 0 pads.

        Unigrams come first, then bigrams, then character n-grams.
        """
        phrases = tf.convert_to_tensor(phrases, tf.string)
        flat = tf.strings.lower(tf.reshape(phrases, [-1]), encoding="utf-8")
        words = tf_text.WhitespaceTokenizer().tokenize(tf_text.normalize_utf8(flat, "NFC"))
        bigrams = tf_text.ngrams(words, 2, reduction_type=tf_text.Reduction.STRING_JOIN)
        ids = self._hashed(tf.concat([words, bigrams], axis=1), self.max_ngrams)
        if self.character_ngrams:
            ids = tf.concat([ids, self._hashed(_character_ngrams(words), self.character_ngrams)], axis=1)
        return tf.reshape(ids, tf.concat([tf.shape(phrases), [ids.shape[1]]], axis=0))

    def ngrams(self, phrases: Sequence[str]) -> Ngrams:
        """Hashes any number of phrases, in batches, to the n-grams that a `PhraseTable` stores."""
        starts = range(0, len(phrases), _PHRASES_AT_A_TIME)
        parts = [self.ngram_ids(tf.constant(phrases[i : i + _PHRASES_AT_A_TIME])) for i in starts]
        return Ngrams(np.concatenate(parts), self.hash_buckets)

    def _hashed(self, ngrams: tf.RaggedTensor, most: int) -> tf.Tensor:
        """Hashes string [N, ragged] to int32 [N, most]."""
        ids = tf.strings.to_hash_bucket_fast(ngrams[:, :most], self.hash_buckets) + 1
        return tf.ensure_shape(tf.cast(ids.to_tensor(0, shape=[None, most]), tf.int32), [None, most])

    def encode(self, ids: tf.Tensor) -> tf.Tensor:
        """Embeds `ngram_ids` [..., M]: float32 [..., dim], L2-normalised; zeros if all ids are padding."""
        # Phrases in one axis: oneDNN corrupts memory when it broadcasts `attention` over more axes (TensorFlow 2.20).
        flat = tf.reshape(ids, [-1, ids.shape[-1]])
        present = flat > 0
        vectors = tf.gather(self.ngram_table, flat)
        scores = tf.where(present, tf.linalg.matvec(vectors, self.attention), -1e9)
        weights = tf.nn.softmax(scores) * tf.cast(present, tf.float32)
        embeddings = tf.math.l2_normalize(tf.einsum("nm,nmd->nd", weights, vectors), axis=-1)
        embeddings = tf.reshape(embeddings, tf.concat([tf.shape(ids)[:-1], [self.dim]], axis=0))
        return tf.ensure_shape(embeddings, [*ids.shape[:-1], self.dim])

    def call(self, phrases: tf.Tensor) -> tf.Tensor:
        phrases = tf.convert_to_tensor(phrases)
        if phrases.dtype != tf.string:
            raise ValueError(
                f"phrases must be strings, got dtype {phrases.dtype.name}: use PhraseEmbeddings for row numbers."
            )
        return self.encode(self.ngram_ids(phrases))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "dim": self.dim,
            "hash_buckets": self.hash_buckets,
            "max_ngrams": self.max_ngrams,
            "character_ngrams": self.character_ngrams,
        }


def _character_ngrams(words: tf.RaggedTensor) -> tf.RaggedTensor:
    """Lists the character n-grams of each phrase, marked by "#" to differ from words: "fox" -> "#<fo", "#fox", "#ox>".

    The input is string [N, words], the result string [N, ragged].
    """
    bounded = tf.strings.join(["<", words.flat_values, ">"])
    characters = tf.strings.unicode_split(bounded, "UTF-8")
    ngrams = tf_text.ngrams(
        characters, _CHARACTERS, reduction_type=tf_text.Reduction.STRING_JOIN, string_separator=""
    )
    marked = ngrams.with_flat_values(tf.strings.join(["#", ngrams.flat_values]))
    return words.with_flat_values(marked).merge_dims(1, 2)
