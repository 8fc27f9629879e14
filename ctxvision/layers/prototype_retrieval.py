"""Query embeddings to the phrases whose prototypes are nearest."""

import importlib.util
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs
import tf_keras as keras

if TYPE_CHECKING:
    from ctxvision.prototypes import PhraseTable

# Below either, exact search is as quick, and ScaNN's partitions hold too few rows to learn from or to fill k places.
FEWEST_ROWS_FOR_SCANN = 1000
FEWEST_ROWS_FOR_SCANN_PER_K = 20


class Retrieved(NamedTuple):
    """What retrieval found for each of B queries, the best first."""

    ids: tf.Tensor  # int32 [B, k], row numbers of the phrase table, -1 where there is none
    scores: tf.Tensor  # float32 [B, k], cosine, -1 where there is none
    phrases: tf.Tensor  # string [B, k], "" where there is none


@keras.saving.register_keras_serializable("ctxvision")
class PrototypeRetrieval(keras.layers.Layer):
    """The k nearest prototypes by cosine (Eq. 3).

    Args:
        k: phrases a picture.
        backend: `"exact"` (TFRS BruteForce: core ops, runs on an unmodified TF Serving) or `"scann"` (TFRS ScaNN:
            quantised, for Python processes and servers built with ScaNN's ops; exact below 1,000 rows and below
            20 k rows).

    Call arguments:
        embeddings: float [B, D], of any length above 0: normalised inside.

    Returns:
        `Retrieved(ids, scores, phrases)`, each [B, k], by falling score, equal scores by rising id; ids are row
        numbers of the table, whatever rows `index` left out. Nothing is found for a query that is zero or holds NaN
        or infinity, nor in places that approximate search could not fill: id -1, score -1, phrase "". No gradient
        passes.

    Raises:
        ValueError: an unknown backend, k no whole number of 1 or more or above the number of rows, a call before
            `index`, or embeddings of another shape.
        ImportError: backend `"scann"` without the scann package.

    Example:
        >>> retrieval = PrototypeRetrieval(k=2).index(table)
        >>> retrieval(embeddings).phrases.shape
        TensorShape([32, 2])
    """

    def __init__(self, k: int = 3, backend: str = "exact", **kwargs: Any):
        # Float32 whatever the policy: ScaNN takes nothing else.
        super().__init__(**{**kwargs, "dtype": "float32"})
        if int(k) != k or k < 1:
            raise ValueError(f"k must be a whole number of at least 1, got {k!r}: the method uses 3.")
        if backend not in ("exact", "scann"):
            raise ValueError(f"backend must be 'exact' or 'scann', got {backend!r}: choose one.")
        if backend == "scann" and importlib.util.find_spec("scann") is None:
            raise ImportError("backend 'scann' needs the scann package: pip install scann.")
        self.k = int(k)
        self.backend = backend
        self._search: Any = None

    def index(
        self, table: "PhraseTable", languages: Sequence[str] | None = None, min_count: int = 1
    ) -> "PrototypeRetrieval":
        """Takes in the rows to be found.

        What was traced before keeps finding the old rows: make the `tf.function` again, and for a Keras model that
        has predicted call `model.make_predict_function(force=True)`.

        Args:
            table: the vocabulary.
            languages: codes of the languages that may be found; None: all.
            min_count: pictures that must be behind a prototype.

        Returns:
            The layer itself.
        """
        kept = np.asarray(table.counts) >= min_count
        if languages is not None:
            kept &= np.isin(np.asarray(table.languages), list(languages))
        rows = np.flatnonzero(kept).astype(np.int32)
        if self.k > len(rows):
            raise ValueError(
                f"k must be at most the number of phrases that may be found, got k = {self.k} and {len(rows)} phrases "
                f"(languages {languages}, min_count {min_count}): lower k or loosen the filter."
            )
        prototypes = np.asarray(table.prototypes[rows], np.float32)
        self.phrases = tf.Variable(list(table.phrases), trainable=False, dtype=tf.string, name="phrases")
        self.rows = tf.Variable(rows, trainable=False, name="rows")
        self._dim = prototypes.shape[1]
        self._search = self._build_search(prototypes)
        return self

    def _build_search(self, prototypes: np.ndarray) -> Any:
        rows = len(prototypes)
        if self.backend == "exact" or rows < max(FEWEST_ROWS_FOR_SCANN, FEWEST_ROWS_FOR_SCANN_PER_K * self.k):
            search = tfrs.layers.factorized_top_k.BruteForce(k=self.k)
        else:
            # About sqrt(N) partitions of which half are read, then exact scores for many times k. On 2,000 to 200,000
            # rows in loose clusters recall@3 is at least 0.96; reading fewer saves little time.
            leaves = round(math.sqrt(rows))
            search = tfrs.layers.factorized_top_k.ScaNN(
                k=self.k,
                distance_measure="dot_product",
                num_leaves=leaves,
                num_leaves_to_search=min(leaves, max(40, leaves // 2)),
                num_reordering_candidates=max(300, 10 * self.k),
            )
        # ScaNN would keep its index in trainable variables; its first call makes what saving needs.
        with tf.variable_creator_scope(_untrainable):
            search.index(prototypes, tf.range(rows))
            search.call(tf.ones([1, self._dim]))
        return search

    def call(self, embeddings: tf.Tensor) -> Retrieved:
        if self._search is None:
            raise ValueError("PrototypeRetrieval has no phrases yet: call index(table) first.")
        if embeddings.shape.rank != 2 or embeddings.shape[1] != self._dim:
            raise ValueError(
                f"embeddings must have shape [B, {self._dim}] as the prototypes do, got {tuple(embeddings.shape)}: "
                f"use the phrase generator that made the table."
            )
        queries = _unit_rows(tf.stop_gradient(tf.cast(embeddings, tf.float32)))
        sound = tf.reduce_all(tf.math.is_finite(queries), axis=-1, keepdims=True)
        scores, positions = self._nearest(tf.where(sound, queries, 0.0))
        there = sound & ~tf.math.is_nan(scores)
        scores, positions = _in_order(tf.where(there, scores, -1.0), tf.where(there, positions, tf.int32.max))

        there = positions < tf.int32.max
        ids = tf.where(there, tf.gather(self.rows, tf.where(there, positions, 0)), -1)
        phrases = tf.where(there, tf.gather(self.phrases, tf.maximum(ids, 0)), "")
        return Retrieved(ids, scores, phrases)

    def _nearest(self, queries: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Scores, NaN where there is none, and positions in the index, [B, k] both."""
        # An empty batch fails in ScaNN: a row of zeros goes along. `call` itself, since a global mixed policy, which
        # is that of TFRS' layers, would cast the queries.
        scores, positions = self._search.call(tf.pad(queries, [[0, 1], [0, 0]]))
        # ScaNN marks places that it could not fill by NaN, or drops them where they are empty in every row.
        missing = [[0, 0], [0, self.k - tf.shape(scores)[1]]]
        scores = tf.pad(scores, missing, constant_values=float("nan"))[:-1]
        positions = tf.pad(positions, missing)[:-1]
        shape = (queries.shape[0], self.k)
        return tf.ensure_shape(scores, shape), tf.ensure_shape(positions, shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "k": self.k, "backend": self.backend}


def _unit_rows(rows: tf.Tensor) -> tf.Tensor:
    """L2-normalises rows of any length, which `tf.math.l2_normalize` alone does not; a row of zeros becomes NaN."""
    return tf.math.l2_normalize(rows / tf.reduce_max(tf.abs(rows), axis=-1, keepdims=True), axis=-1)


def _in_order(scores: tf.Tensor, positions: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """By falling score, and by rising position among equal ones: a stable sort after a sort."""
    by_position = tf.argsort(positions)
    scores, positions = (tf.gather(x, by_position, batch_dims=1) for x in (scores, positions))
    by_score = tf.argsort(scores, direction="DESCENDING", stable=True)
    scores, positions = (tf.gather(x, by_score, batch_dims=1) for x in (scores, positions))
    return scores, positions


def _untrainable(create: Any, **arguments: Any) -> tf.Variable:
    return create(**{**arguments, "trainable": False})
