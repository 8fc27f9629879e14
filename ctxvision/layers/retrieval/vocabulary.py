"""The columns of a phrase table that an index needs beside prototypes: phrases, attributes and retrievable rows."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from ctxvision._mapped import release
from ctxvision.layers.retrieval.phrase_filter import (
    MOST_FLAGS,
    MOST_LANGUAGES,
    PhraseFilter,
    attributes_of,
    flag_bits,
)
from ctxvision.layers.retrieval.side_block import SideBlock

if TYPE_CHECKING:
    from ctxvision.vocabulary import PhraseTable
    from ctxvision.vocabulary.packed_phrases import PackedPhrases

# Flag of phrases that a user added by name: they are found regardless of their number of pictures.
PINNED = "pinned"
SIDE_ROWS = 2048
# Room for later languages.
_SPARE_LANGUAGES = 32
_ROWS_AT_A_TIME = 1 << 20
# A string of TensorFlow takes 24 bytes, and more than its length if it is longer than 22 bytes. So phrases share strings.
# 64 phrases of at most 1,000 bytes have ends that fit into uint16.
_PHRASES_PER_STRING = 64


def with_room(rows: int) -> int:
    """Computes the number of rows to allocate for `rows`, with room for later rows."""
    return rows + max(SIDE_ROWS, rows // 64)


def retrievable_ids(
    table: "PhraseTable", languages: Sequence[str] | None, min_count: int, ids: np.ndarray | None = None
) -> np.ndarray:
    """Selects the rows, int32, that are live and pass the languages and the minimum count, from `ids` or all rows."""
    if isinstance(languages, str):
        raise ValueError(f"languages must be a list of codes, got {languages!r}: write [{languages!r}].")
    part: Any = slice(None) if ids is None else ids
    kept = np.asarray(table.counts[part]) >= min_count
    if PINNED in table.flags:
        kept |= np.asarray(table.flags[PINNED][part])
    kept &= np.asarray(table.live[part])
    if languages is not None:
        wanted = [i for i, code in enumerate(table.language_codes) if code in languages]
        kept &= np.isin(table.language_ids[part], wanted)
    places = np.flatnonzero(kept).astype(np.int32)
    return places if ids is None else ids[places]


class Vocabulary(tf.Module):
    """Phrases and attributes by id, and the block of rows that came after the index.

    Args:
        table: the vocabulary.
        languages: codes of the languages that may be found; None means all.
        min_count: the smallest number of pictures behind a prototype.
    """

    def __init__(self, table: "PhraseTable", languages: Sequence[str] | None, min_count: int):
        super().__init__(name="vocabulary")
        self._languages, self._min_count = languages, min_count
        self._flags = tuple(table.flags)
        if len(self._flags) > MOST_FLAGS:
            raise ValueError(
                f"flags must be at most {MOST_FLAGS} columns, got {len(self._flags)}: drop some."
            )
        rows = len(table.prototypes)
        self.capacity = with_room(rows)
        strings = -(-self.capacity // _PHRASES_PER_STRING)
        texts, ends = _joined(table.phrases, np.arange(strings))
        # A variable that is filled by a scatter op would be copied when it is saved.
        self.phrases = tf.Variable(tf.constant(texts, tf.string), trainable=False, name="phrases")
        self.phrase_ends = tf.Variable(ends.ravel(), trainable=False, name="phrase_ends")
        self.attributes = tf.Variable(tf.zeros([self.capacity], tf.int32), trainable=False, name="attributes")
        codes = min(MOST_LANGUAGES, len(table.language_codes) + _SPARE_LANGUAGES)
        self.language_codes = tf.Variable(tf.fill([codes], ""), trainable=False, name="language_codes")
        self.side_block = SideBlock(SIDE_ROWS, table.prototypes.shape[1])
        for start in range(0, rows, _ROWS_AT_A_TIME):
            self._copy_attributes(table, np.arange(start, min(rows, start + _ROWS_AT_A_TIME)))

    def _copy_attributes(self, table: "PhraseTable", ids: np.ndarray) -> None:
        codes = list(table.language_codes)
        spare = self.language_codes.shape[0] - len(codes)
        if spare < 0 or (len(ids) and ids[-1] >= self.capacity):
            raise ValueError(
                f"table must have at most {self.capacity} rows and {self.language_codes.shape[0]} languages to "
                f"be taken in without a rebuild, got {len(table.prototypes)} and {len(codes)}: call index(table)."
            )
        self.language_codes.assign(codes + [""] * spare)
        flags = {name: np.asarray(column[ids]) for name, column in table.flags.items()}
        attributes = attributes_of(table.language_ids[ids], flags, self._flags)
        self.attributes.scatter_update(tf.IndexedSlices(tf.constant(attributes), ids))

    def take_in(self, table: "PhraseTable", ids: np.ndarray) -> np.ndarray:
        """Copies changed rows, and returns those of the ascending `ids` that may be found, int32."""
        self._copy_attributes(table, ids)
        strings = np.unique(ids // _PHRASES_PER_STRING)
        texts, ends = _joined(table.phrases, strings)
        # Phrases never change, so a search between the two steps still finds the old ones.
        self.phrases.scatter_update(tf.IndexedSlices(tf.constant(texts, tf.string), strings))
        rows = strings[:, np.newaxis] * _PHRASES_PER_STRING + np.arange(_PHRASES_PER_STRING)
        self.phrase_ends.scatter_update(tf.IndexedSlices(ends.ravel(), rows.ravel()))
        return retrievable_ids(table, self._languages, self._min_count, ids)

    def phrases_of(self, ids: tf.Tensor) -> tf.Tensor:
        """Looks up the phrases of int32 `ids`, string of the same shape; "" for -1."""
        rows = tf.maximum(ids, 0)
        end = tf.cast(tf.gather(self.phrase_ends, rows), tf.int32)
        before = tf.cast(tf.gather(self.phrase_ends, tf.maximum(rows - 1, 0)), tf.int32)
        start = tf.where(rows % _PHRASES_PER_STRING == 0, 0, before)
        texts = tf.gather(self.phrases, rows // _PHRASES_PER_STRING)
        return tf.where(ids >= 0, tf.strings.substr(texts, start, end - start), "")

    def admits(self, where: PhraseFilter) -> Callable[[tf.Tensor], tf.Tensor]:
        """Makes a function that maps ids to whether the filter admits them."""
        return lambda ids: where.admits(ids, tf.convert_to_tensor(self.attributes))

    def filter(
        self, allow_languages: Any, deny_languages: Any, allow_flags: Any, deny_flags: Any, deny_ids: Any
    ) -> PhraseFilter:
        """Makes a filter, see `PrototypeRetrieval.filter`."""
        allowed = tf.fill(self.language_codes.shape, True)
        if allow_languages is not None:
            named = tf.convert_to_tensor(allow_languages, tf.string)
            allowed = self._named(named) | tf.equal(tf.size(named), 0)
        if deny_languages is not None:
            allowed &= ~self._named(tf.convert_to_tensor(deny_languages, tf.string))
        required = flag_bits([] if allow_flags is None else allow_flags, self._flags)
        denied = flag_bits([] if deny_flags is None else deny_flags, self._flags)
        ids = tf.convert_to_tensor([] if deny_ids is None else deny_ids, tf.int32)
        return PhraseFilter(allowed, required, denied, ids)

    def _named(self, codes: tf.Tensor) -> tf.Tensor:
        return tf.reduce_any(
            tf.equal(tf.convert_to_tensor(self.language_codes)[:, tf.newaxis], codes), axis=1
        )


def _joined(phrases: "PackedPhrases", strings: np.ndarray) -> tuple[list[bytes], np.ndarray]:
    """Joins the phrases of M strings; returns the strings, and the ends of phrases in them, uint16 [M, 64]."""
    rows = strings[:, np.newaxis] * _PHRASES_PER_STRING + np.arange(-1, _PHRASES_PER_STRING)
    ends = np.where(rows < 0, 0, phrases.ends[np.clip(rows, 0, len(phrases) - 1)])
    texts = [phrases.data[start:end].tobytes() for start, end in ends[:, [0, -1]].tolist()]
    release(phrases.data)
    release(phrases.ends)
    return texts, (ends[:, 1:] - ends[:, :1]).astype(np.uint16)
