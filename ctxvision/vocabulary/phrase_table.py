"""A vocabulary: phrases with prototypes, counts, languages, flags, and n-grams or text embeddings."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ctxvision.errors import InputError
from ctxvision.vocabulary._changes import Change, merged, removed, shrunk, upserted
from ctxvision.vocabulary._checks import TEXT_COLUMNS, Flags, checked_columns, checked_dtype, encoded_phrases
from ctxvision.vocabulary._columns import Contents
from ctxvision.vocabulary._phrase_index import find, hashes_by_row, phrase_hashes, sorted_index
from ctxvision.vocabulary._stored import (
    Place,
    open_table,
    write_change,
    write_table,
)
from ctxvision.vocabulary.ngrams import Ngrams
from ctxvision.vocabulary.packed_phrases import PackedPhrases
from ctxvision.vocabulary.phrase_row import PhraseRow


class PhraseTable:
    """Phrases and their prototypes in the embedding space of pictures; a row number is the phrase's id.

    A table made by `from_arrays` lives in memory. A loaded table is bound to its folder: each change writes a new
    generation there, completely or not at all, and does not affect tables that are already open. Only `shrink` changes
    ids.

    Attributes:
        phrases: a sequence of the N phrases, NFC-normalised, which decodes each phrase when it is read.
        prototypes: float32 or float16 [N, D], each row L2-normalised (Eq. 2).
        counts: int64 [N], the number of pictures behind each prototype.
        language_ids: int16 [N], positions in `language_codes`.
        language_codes: list of language codes.
        live: bool [N], False for a removed phrase.
        flags: maps the name of a flag to its column, bool [N].
        ngrams: uint16 [N, M] hashed n-grams and the number of hash buckets, from which a text encoder computes
            embeddings, or None.
        text_embeddings: float32 [N, T] of another text tower, which replace `ngrams`, or None.
        directory: the folder that the table is bound to, or None.

    Example:
        >>> table = cv.PhraseTable.from_arrays(["red car", "blue car"], [[1.0, 0.0], [0.0, 1.0]])
        >>> table.save("table")
        >>> cv.PhraseTable.load("table").phrases[1]
        'blue car'
    """

    def __init__(self, contents: Contents, place: Place | None = None):
        self._move(contents, place)

    @classmethod
    def from_arrays(
        cls,
        phrases: Sequence[str],
        prototypes: ArrayLike,
        counts: ArrayLike | None = None,
        languages: Sequence[str] | None = None,
        text_embeddings: ArrayLike | None = None,
        flags: Flags | None = None,
        dtype: str = "float32",
        ngrams: Ngrams | None = None,
    ) -> "PhraseTable":
        """Makes a table in memory.

        Args:
            phrases: N different phrases of 1 to 1,000 UTF-8 bytes.
            prototypes: [N, D], any length above 0; stored L2-normalised.
            counts: int [N], the number of pictures behind each prototype; None means 1.
            languages: N codes; None means "en".
            text_embeddings: [N, T], or None.
            flags: maps the name of a flag to bool [N].
            dtype: dtype of the prototypes, "float32" or "float16".
            ngrams: n-grams of the N phrases, or None; not together with `text_embeddings`.

        Raises:
            InputError: the table is empty; shapes differ; a phrase is not a str, is empty, too long or repeated; a
                prototype is zero or not finite; a count is not an integer of 0 or more; a text embedding is not finite;
                an n-gram is out of range; a flag is not bool; or both text embeddings and n-grams are given. The
                message names the phrase.
        """
        kind, codes = checked_dtype(dtype), dict[str, int]()
        columns, hashes = checked_columns(
            phrases, prototypes, counts, languages, text_embeddings, ngrams, flags, kind, codes
        )
        contents = Contents(columns, [*codes], ngrams.hash_buckets if ngrams else None)
        columns.update(sorted_index(hashes, contents.phrases))
        return cls(contents)

    # === Reading ===

    @property
    def languages(self) -> np.ndarray:
        """str [N], computed on each access; `language_ids` needs less memory."""
        return np.asarray(self.language_codes)[self.language_ids]

    def __len__(self) -> int:
        """Returns N, which includes removed rows."""
        return len(self.live)

    def __iter__(self) -> Iterator[PhraseRow]:
        """Yields the live rows."""
        columns = map(np.asarray, (self.live, self.prototypes, self.counts, self.language_ids))
        for phrase, live, prototype, count, language in zip(self.phrases, *columns, strict=True):
            if live:
                yield PhraseRow(phrase, prototype, int(count), self.language_codes[language])

    def ids(self, phrases: Sequence[str]) -> np.ndarray:
        """Finds the id of each phrase, int32 [M]; -1 for a phrase that is unknown or removed."""
        encoded = encoded_phrases(phrases)
        wanted = PackedPhrases.of(encoded)
        rows = find(self._contents, wanted, np.arange(len(encoded)), phrase_hashes(encoded))
        return np.where((rows >= 0) & self.live[rows], rows, np.int32(-1))

    def take(self, rows: ArrayLike) -> "PhraseTable":
        """Makes a table in memory from these rows, in this order; ids are new.

        Args:
            rows: integers, or a bool mask [N].

        Raises:
            InputError: there is no row, or a row is repeated.
        """
        chosen = np.arange(len(self))[np.asarray(rows)]
        if not len(chosen):
            raise InputError("rows must not be empty, got none: take at least one.")
        packed = self.phrases.take(chosen)
        special = {
            "phrases": packed.data,
            "phrase_ends": packed.ends,
            **sorted_index(hashes_by_row(self._contents)[chosen], packed),
        }
        columns = {
            name: special[name] if name in special else column[chosen]
            for name, column in self._contents.columns.items()
        }
        return PhraseTable(Contents(columns, self.language_codes, self._contents.hash_buckets))

    # === Changing ===

    def upsert(
        self,
        phrases: Sequence[str],
        prototypes: ArrayLike,
        counts: ArrayLike | None = None,
        languages: Sequence[str] | None = None,
        text_embeddings: ArrayLike | None = None,
        flags: Flags | None = None,
        ngrams: Ngrams | None = None,
    ) -> np.ndarray:
        """Updates known phrases, whose ids stay, and appends new ones.

        Arguments that are None leave known phrases unchanged. New phrases, and removed phrases that come back, then get
        count 1 and language "en"; flags that are not given are False for them. A flag that is new to the table is False
        for all other rows. New phrases need n-grams or text embeddings if the table has them.

        Args:
            phrases: M different phrases of 1 to 1,000 UTF-8 bytes.
            prototypes: [M, D], any length above 0; stored L2-normalised.
            counts: int [M], pictures behind each prototype.
            languages: M codes.
            text_embeddings: [M, T]; must be None if the table has no text embeddings.
            flags: maps the name of a flag to bool [M].
            ngrams: n-grams of the M phrases; must be None if the table has no n-grams.

        Returns:
            int32 [M] ids of the given phrases.

        Raises:
            InputError: as in `from_arrays`; widths or hashes differ from the table's; new phrases lack the n-grams or text
                embeddings that the table has; or another process wrote a new generation to the folder. Nothing changes
                then.
        """
        new = PhraseTable.from_arrays(
            phrases, prototypes, counts, languages, text_embeddings, flags, self.prototypes.dtype.name, ngrams
        )
        for name in TEXT_COLUMNS:
            if name in new._contents.columns and name not in self._contents.columns:
                raise InputError(
                    f"{name} must be left out if the table has none, got {len(new)} rows: leave them out."
                )
        columns = {
            "counts": counts,
            "language_ids": languages,
            "text_embeddings": text_embeddings,
            "ngrams": ngrams,
        }
        given = {"prototypes", *(name for name, values in columns.items() if values is not None)}
        given |= {f"flag_{name}" for name in new.flags}
        return self._apply(*upserted(self._contents, new._contents, given))

    def merge(self, other: "PhraseTable") -> np.ndarray:
        """Adds the live phrases of another table.

        A phrase of both tables gets the L2-normalised mean of both prototypes, weighted by their counts (its old
        prototype if they cancel out), and the sum of both counts. Its flags are set if set in either table. Its
        language and its n-grams or text embedding stay. New phrases are copied.

        Returns:
            int32 ids of the other table's live phrases, in its order.

        Raises:
            InputError: widths or hashes of both tables differ; new phrases lack the n-grams or text embeddings that the
                table has; or as in `upsert`. Nothing changes then.
        """
        return self._apply(*merged(self._contents, other._contents))

    def remove(self, phrases: Sequence[str]) -> np.ndarray:
        """Removes phrases; the ids of all others stay, and a later `upsert` of the same phrase restores its id.

        Returns:
            int32 ids of the removed phrases.

        Raises:
            InputError: a phrase is not in the table, no phrase would be left, or as in `upsert`. Nothing changes then.
        """
        ids = self.ids(phrases)
        if (ids < 0).any():
            missing = phrases[int(ids.argmin())]
            raise InputError(f"phrases to remove must be in the table, got {missing!r}: check the spelling.")
        if len(np.unique(ids)) == np.count_nonzero(self.live):
            raise InputError(
                "phrases to remove must leave at least one in the table, got all of them: keep one."
            )
        return self._apply(removed(self._contents, ids), ids) if len(ids) else ids

    def shrink(self, min_count: int = 1) -> None:
        """Drops removed rows and rows with a count below `min_count`, and renumbers the others in order.

        Raises:
            InputError: no row would be left, or as in `upsert`. Nothing changes then.
        """
        mask = self.live & (self.counts >= min_count)
        if not mask.any():
            raise InputError(
                f"min_count must leave at least one phrase, got {min_count}, above the highest count "
                f"{self.counts[self.live].max()}: lower it."
            )
        if not mask.all():
            self._apply(shrunk(self._contents, mask))

    # === On disk ===

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Writes the table as the next generation of a folder, completely or not at all.

        Raises:
            InputError: `directory` holds something other than a phrase table.
        """
        folder = Path(os.path.abspath(directory))
        contents, place = write_table(folder, self._contents)
        if self.directory and self.directory.exists() and folder.samefile(self.directory):
            self._move(contents, place)

    @classmethod
    def load(cls, directory: str | os.PathLike[str]) -> "PhraseTable":
        """Opens a table and binds it to its folder; columns are memory-mapped.

        Raises:
            InputError: the folder holds no table, a table of another format version, or a damaged one.
        """
        return cls(*open_table(Path(os.path.abspath(directory))))

    def _apply(self, change: Change, ids: np.ndarray | None = None) -> Any:
        """Applies the change, in memory or on disk, and returns `ids`."""
        if self._place is None:
            self._move(change.collect(self._contents))
        else:
            self._move(*write_change(self._place, self._contents, change))
        return ids

    def _move(self, contents: Contents, place: Place | None = None) -> None:
        columns = contents.columns
        self._contents, self._place = contents, place
        self.directory = place.directory if place else None
        self.phrases = contents.phrases
        self.prototypes = columns["prototypes"]
        self.counts = columns["counts"]
        self.language_ids = columns["language_ids"]
        self.language_codes = contents.language_codes
        self.live = columns["live"]
        self.flags = {n.removeprefix("flag_"): c for n, c in columns.items() if n.startswith("flag_")}
        self.text_embeddings = columns.get("text_embeddings")
        self.ngrams = None
        if contents.hash_buckets is not None:
            self.ngrams = Ngrams(columns["ngrams"], contents.hash_buckets)
