"""Retrieves the phrases whose prototypes are nearest to a query embedding."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras as keras

from ctxvision._tfrs import has_scann
from ctxvision.layers.retrieval.arguments import checked_k, unit_rows
from ctxvision.layers.retrieval.exact_search import ExactSearch
from ctxvision.layers.retrieval.inverted_lists import MANY_ROWS, InvertedLists
from ctxvision.layers.retrieval.memory import check_memory
from ctxvision.layers.retrieval.phrase_filter import PhraseFilter
from ctxvision.layers.retrieval.saved_index import (
    keep_variables,
    module_config,
    module_of,
    take_variables,
)
from ctxvision.layers.retrieval.supported_rows import SupportedRows
from ctxvision.layers.retrieval.vocabulary import PINNED, SIDE_ROWS, Vocabulary, retrievable_ids

if TYPE_CHECKING:
    from ctxvision.vocabulary import PhraseTable

BACKENDS = ("ivf", "exact", "scann")
# Below this number exact search is as fast, and lists or partitions have too few rows to learn from.
FEWEST_ROWS = 4096


class Retrieved(NamedTuple):
    """The rows found for each of B queries, best first.

    Attributes:
        ids: int32 [B, k], row numbers of the phrase table, -1 if no row was found.
        scores: float32 [B, k], cosines (lower with `support`), -1 if no row was found.
        phrases: string [B, k], "" if no row was found.
    """

    ids: tf.Tensor
    scores: tf.Tensor
    phrases: tf.Tensor


@keras.saving.register_keras_serializable("ctxvision")
class PrototypeRetrieval(keras.layers.Layer):
    """Finds the k nearest prototypes by cosine (Eq. 3).

    Args:
        k: the number of phrases per picture, and the upper bound of a call's `k`.
        backend: `"ivf"` (inverted lists in core ops: approximate search on an unmodified TF Serving, on any platform,
            compiles with XLA), `"exact"` (scores every row, core ops) or `"scann"` (TFRS ScaNN: for Python processes
            and servers built with ScaNN's ops). Below 4,096 rows all backends are exact.
        index: the sizes of a saved layer's index, from `get_config`; leave it out otherwise.

    Call arguments:
        embeddings: float [B, D], of any length above 0; they are normalised inside.
        k: how many results to return, an int or int32 scalar tensor of at most the layer's k; None returns all k.
        min_score: the lowest score to return, -1..1, a float or float32 scalar tensor; None returns any.
        where: a result of `filter` that limits the rows; None allows all. If fewer than k of the nearest rows pass the
            filter, the search continues until k are found or no rows are left.

    Returns:
        `Retrieved(ids, scores, phrases)`, each [B, k], by descending score. Ids are row numbers of the whole table,
        even if `index` left rows out. Id -1, score -1 and phrase "" mean that nothing was found: the query is zero or
        holds NaN or infinity, the score is below `min_score`, or no rows are left. No gradient flows.

    Raises:
        ValueError: the backend is unknown; k is not a whole number of 1 or more, or exceeds the number of rows; a call
            comes before `index`; embeddings have another shape; or the k of a call exceeds the layer's k
            (InvalidArgumentError if k is a tensor).
        ImportError: the backend is `"scann"` and scann is not installed, or its ops do not load.

    Example:
        >>> table = cv.PhraseTable.from_arrays(["red car", "rotes Auto"], np.eye(2, 64), languages=["en", "de"])
        >>> retrieval = cv.PrototypeRetrieval(k=2).index(table)
        >>> english = retrieval.filter(deny_languages=["de"])
        >>> retrieval(tf.ones([5, 64]), k=1, where=english).phrases[0].numpy()
        array([b'red car'], dtype=object)
    """

    def __init__(self, k: int = 3, backend: str = "ivf", index: dict[str, Any] | None = None, **kwargs: Any):
        # Float32 under any dtype policy, because cosines in bfloat16 would tie.
        super().__init__(**{**kwargs, "dtype": "float32"})
        if int(k) != k or k < 1:
            raise ValueError(f"k must be a whole number of at least 1, got {k!r}: the method uses 3.")
        if backend not in BACKENDS:
            raise ValueError(
                f"backend must be 'ivf', 'exact' or 'scann', got {backend!r}: choose one of these."
            )
        if backend == "scann" and not has_scann():
            raise ImportError(
                f"backend 'scann' needs a scann package whose ops load beside TensorFlow {tf.__version__}, got none: "
                "install scann with the TensorFlow that it is built for (scann 1.4: TensorFlow 2.20), or use 'ivf'."
            )
        self.k = int(k)
        self.backend = backend
        self.tuning: dict[str, Any] | None = None
        # Keras never releases a module that was an attribute of a layer, but a tf.Module releases its own attributes.
        self._parts = tf.Module(name="parts")
        self._parts.search = self._parts.vocabulary = None
        if index is not None:
            if "phrase_ends" not in index["vocabulary"]["attributes"]:
                raise ValueError(
                    "index must be of this version of ctxvision, got an older one, in which each phrase is a string of its "
                    "own: save the model again from its run."
                )
            self._parts.vocabulary = module_of(index["vocabulary"])
            self._parts.search = module_of(index["search"])
            self._support, self._rows_dtype = index["support"], index["rows_dtype"]

    @property
    def _search(self) -> Any:
        return getattr(self._parts, "search", None)

    @property
    def _vocabulary(self) -> Vocabulary:
        return self._parts.vocabulary

    # === Index ===

    def index(
        self,
        table: "PhraseTable",
        languages: Sequence[str] | None = None,
        min_count: int = 1,
        support: float = 0.0,
        dtype: str | None = None,
        **settings: int,
    ) -> "PrototypeRetrieval":
        """Indexes the rows of a table that can be found.

        Functions that were traced before keep searching the old rows: make the `tf.function` again, and for a Keras
        model that has predicted call `model.make_predict_function(force=True)`.

        Args:
            table: the vocabulary.
            languages: codes of the languages to find; None means all.
            min_count: the smallest number of pictures behind a prototype; rows whose flag "pinned" is set are exempt.
            support: rows are ranked and scored by their cosine times n / (n + support), where n is the number of
                pictures behind the row, because prototypes of few pictures are noisy and would displace others. 0 means
                the cosine. Rows whose flag "pinned" is set always have the cosine.
            dtype: dtype in which `ivf` stores the rows, "float32" or "float16"; None means float16 from four million rows
                on, and that of the table below.
            **settings: settings of the search, as `tune` stores them (`num_lists`, `probes`, and `depth` for `scann`);
                they have defaults.

        Returns:
            The layer itself.

        Raises:
            ValueError: k exceeds the number of rows, or an argument is invalid.
            InputError: the index does not fit into memory.
        """
        ids = retrievable_ids(table, languages, min_count)
        if self.k > len(ids):
            raise ValueError(
                f"k must be at most the number of phrases that may be found, got k = {self.k} and {len(ids)} phrases "
                f"(languages {languages}, min_count {min_count}): lower k or loosen the filter."
            )
        if dtype not in (None, "float32", "float16"):
            raise ValueError(
                f"dtype must be 'float32' or 'float16', got {dtype!r}: leave it out to use the table's."
            )
        if dtype is None and self.backend == "ivf" and len(ids) >= MANY_ROWS:
            # Of one million synthetic rows, exact search over float16 finds 0.999 of the three nearest.
            dtype = "float16"
        row_bytes = np.dtype(dtype or table.prototypes.dtype).itemsize
        check_memory(len(ids), table.prototypes.shape[1], row_bytes)
        self._support, self._rows_dtype = support, dtype
        self._parts.vocabulary = Vocabulary(table, languages, min_count)
        self._parts.search = self._build_search(self._ranked_rows(table), ids, **settings)
        self.tuning = None
        return self

    def _ranked_rows(self, table: "PhraseTable") -> SupportedRows:
        pinned = table.flags.get(PINNED)
        return SupportedRows(table.prototypes, table.counts, self._support, pinned, self._rows_dtype)

    def _build_search(self, prototypes: SupportedRows, ids: np.ndarray, **settings: int) -> Any:
        if self.backend == "exact" or len(ids) < FEWEST_ROWS:
            return ExactSearch(prototypes, ids)
        if self.backend == "ivf":
            return InvertedLists(prototypes, ids, **settings)
        from ctxvision.layers.retrieval.scann_search import ScannSearch

        return ScannSearch(prototypes, ids, **settings)

    def tune(
        self,
        table: "PhraseTable",
        recall: float = 0.95,
        k: int = 3,
        queries: np.ndarray | None = None,
        languages: Sequence[str] | None = None,
        min_count: int = 1,
        support: float = 0.0,
    ) -> "PrototypeRetrieval":
        """Indexes the table with the fastest settings that reach a recall, measured against exact search.

        Args:
            table, languages, min_count, support: as in `index`.
            recall: the required share of the k nearest rows that the search finds, above 0 and at most 1.
            k: the number of nearest rows in the recall, at most the layer's k.
            queries: float [Q, D], for example embeddings of pictures; None uses 1,000 rows of the table, each searched
                without itself.

        Returns:
            The layer itself, indexed; `tuning` holds the chosen settings and all measurements.
        """
        from ctxvision.layers.retrieval.tuning import tune

        self.index(table, languages, min_count, support)
        # Bypasses Keras' attribute tracking, which would wrap the dicts in types that `json` cannot write.
        measured = tune(self, self._ranked_rows(table), recall, k, queries)
        object.__setattr__(self, "tuning", measured)
        return self

    # === Search ===

    def filter(
        self,
        allow_languages: Any = None,
        deny_languages: Any = None,
        allow_flags: Any = None,
        deny_flags: Any = None,
        deny_ids: Any = None,
    ) -> PhraseFilter:
        """Makes the argument `where` of a call, which limits the rows to find.

        Args:
            allow_languages, deny_languages: language codes, str [M] or a string tensor; None or empty sets no rule.
            allow_flags, deny_flags: names of flags that must, or must not, be set; None or empty sets no rule.
            deny_ids: int [M], rows that must not be found.

        Raises:
            ValueError: a flag is not in the table (InvalidArgumentError if the names are a tensor).
        """
        self._check_indexed()
        return self._vocabulary.filter(allow_languages, deny_languages, allow_flags, deny_flags, deny_ids)

    def call(
        self, embeddings: tf.Tensor, k: Any = None, min_score: Any = None, where: PhraseFilter | None = None
    ) -> Retrieved:
        ids, scores = self.search(embeddings, k, min_score, where)
        return Retrieved(ids, scores, self.phrases_of(ids))

    def phrases_of(self, ids: tf.Tensor) -> tf.Tensor:
        """Looks up the phrases of int32 `ids`, string of the same shape; "" for -1."""
        return self._vocabulary.phrases_of(ids)

    def search(
        self, embeddings: tf.Tensor, k: Any = None, min_score: Any = None, where: PhraseFilter | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Does the search of a call without strings, so that XLA can compile it; returns `(ids, scores)`."""
        self._check_indexed()
        dim = self._search.rows.shape[-1]
        if embeddings.shape.rank != 2 or embeddings.shape[1] != dim:
            raise ValueError(
                f"embeddings must have shape [B, {dim}] like the prototypes, got {tuple(embeddings.shape)}: "
                f"use the phrase generator that made the table."
            )
        queries = unit_rows(tf.stop_gradient(tf.cast(embeddings, tf.float32)))
        sound = tf.reduce_all(tf.math.is_finite(queries), axis=-1, keepdims=True)
        queries = tf.where(sound, queries, dim**-0.5)
        admits = None if where is None else self._vocabulary.admits(where)
        scores, ids = self._search.search(queries, self.k, admits)
        scores, ids = self._vocabulary.side_block.join((scores, ids), queries, self.k, admits)
        there = sound & (ids >= 0)
        # Rows have length 1 except for rounding, which in float16 affects the third decimal.
        scores = tf.clip_by_value(scores, -1.0, 1.0)
        if min_score is not None:
            there &= scores >= min_score
        ids, scores = tf.where(there, ids, -1), tf.where(there, scores, -1.0)
        if k is not None:
            k = checked_k(k, self.k)
            ids, scores = ids[:, :k], scores[:, :k]
        return ids, scores

    # === Change ===

    def update(self, table: "PhraseTable", ids: np.ndarray) -> None:
        """Takes over rows of `table` that were upserted or removed since `index`, without a rebuild.

        New and changed rows go to a small block that is searched exactly beside the index; removed rows are dropped.
        Functions that were traced before find the new rows too.

        Args:
            table: the indexed table after the changes.
            ids: int32 [M], as `table.upsert` and `table.remove` return them.

        Raises:
            ValueError: there are more new rows than room, even after `compact`; or `ids` are not rows of the table.
        """
        self._check_indexed()
        ids = np.unique(np.asarray(ids, np.int32))
        if len(ids) and not 0 <= ids[0] <= ids[-1] < len(table):
            raise ValueError(
                f"ids must be rows of the table, 0..{len(table) - 1}, got {ids[0] if ids[0] < 0 else ids[-1]}: pass "
                f"the ids that upsert or remove returned."
            )
        for start in range(0, len(ids), SIDE_ROWS):
            self._update(table, ids[start : start + SIDE_ROWS])

    def _update(self, table: "PhraseTable", ids: np.ndarray) -> None:
        side = self._vocabulary.side_block
        rows = self._vocabulary.take_in(table, ids)
        if len(rows) > side.room_without(ids):
            self.compact()
        if len(rows) > (room := side.room_without(ids)):
            raise ValueError(
                f"ids must name at most {room} new rows, the room left beside the index, got {len(rows)}: call "
                "index(table)."
            )
        self._search.drop(ids)
        side.drop(ids)
        side.put(rows, np.asarray(self._ranked_rows(table)[rows], np.float32))

    def compact(self) -> int:
        """Moves rows from the side block into the index.

        `ivf` puts rows into free places of their nearest lists, and may do so in another thread while searches run.
        The other backends keep the rows in the block until `index` is called. `update` compacts when the block is full.

        Returns:
            The number of rows that stay in the block.
        """
        self._check_indexed()
        side = self._vocabulary.side_block
        ids, rows = side.held()
        if len(ids) and hasattr(self._search, "take_in"):
            side.drop(ids[self._search.take_in(ids, rows)])
        return len(side.held()[0])

    def _check_indexed(self) -> None:
        if self._search is None:
            raise ValueError("PrototypeRetrieval has no phrases yet: call index(table) first.")

    # === Saving ===

    @property
    def weights(self) -> list[tf.Variable]:
        """All weights except strings, which Keras' callbacks cannot plot; `variables` includes them."""
        return [weight for weight in super().weights if weight.dtype != tf.string]

    @property
    def variables(self) -> list[tf.Variable]:
        return super().weights

    def get_config(self) -> dict[str, Any]:
        """Returns the config with the index's sizes, so that a copy can hold the arrays of `load_own_variables`."""
        config = {**super().get_config(), "k": self.k, "backend": self.backend, "index": None}
        if not self._is_saved:
            return config
        parts = {"search": module_config(self._search), "vocabulary": module_config(self._vocabulary)}
        return {**config, "index": {**parts, "support": self._support, "rows_dtype": self._rows_dtype}}

    @property
    def _is_saved(self) -> bool:
        """Whether the index is saved with the layer; ScaNN's index is not an array."""
        return isinstance(self._search, ExactSearch | InvertedLists)

    def save_own_variables(self, store: Any) -> None:
        if self._is_saved:
            keep_variables(self._parts, store)

    def load_own_variables(self, store: Any) -> None:
        if self._is_saved:
            take_variables(self._parts, store)
