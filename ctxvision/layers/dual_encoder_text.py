"""Phrases to a space in which queries that belong together lie near."""

from typing import Any

import tensorflow as tf
import tensorflow_text as tf_text
import tf_keras as keras

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

    `PhraseEmbeddings` keeps what the layer makes of a whole vocabulary.

    Args:
        dim: width of the embedding, 200 in the method.
        hash_buckets: rows of the n-gram table; n-grams whose hashes collide share a row.
        max_ngrams: n-grams of words read of each phrase, unigrams first (16: phrases of up to 8 words in full).
        character_ngrams: n-grams of characters read of each phrase besides, 0 for none.

    Call arguments:
        phrases: string [...], of any language.

    Returns:
        float32 [..., dim], L2-normalised; zeros for `""` and for white space.

    Raises:
        ValueError: an argument out of its range, or phrases that are not strings.

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
        # Row 0 is padding's; its weight is 0, so that it never learns. Small, or Adagrad takes long to move them.
        self.ngram_table = self.add_weight(
            name="ngram_table",
            shape=(hash_buckets + 1, dim),
            initializer=keras.initializers.RandomNormal(stddev=0.02, seed=0),
        )
        self.attention = self.add_weight(name="attention", shape=(dim,), initializer="zeros")

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

    def call(self, phrases: tf.Tensor) -> tf.Tensor:
        phrases = tf.convert_to_tensor(phrases)
        if phrases.dtype != tf.string:
            raise ValueError(
                f"phrases must be strings, got dtype {phrases.dtype.name}: look row numbers up with PhraseEmbeddings."
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
    """string [N, ragged] of [N, words]: "fox" -> "#<fo", "#fox", "#ox>", which no word is."""
    bounded = tf.strings.join(["<", words.flat_values, ">"])
    characters = tf.strings.unicode_split(bounded, "UTF-8")
    ngrams = tf_text.ngrams(
        characters, _CHARACTERS, reduction_type=tf_text.Reduction.STRING_JOIN, string_separator=""
    )
    marked = ngrams.with_flat_values(tf.strings.join(["#", ngrams.flat_values]))
    return words.with_flat_values(marked).merge_dims(1, 2)
