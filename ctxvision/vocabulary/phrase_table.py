"""The vocabulary: phrases, their prototypes, counts, languages, flags and text embeddings."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ctxvision.errors import InputError
from ctxvision.vocabulary._changes import Change, merged, removed, shrunk, upserted
from ctxvision.vocabulary._checks import Flags, checked_columns, checked_dtype, encoded_phrases
from ctxvision.vocabulary._columns import Contents
from ctxvision.vocabulary._phrase_index import find, hashes_by_row, phrase_hashes, sorted_index
from ctxvision.vocabulary._stored import (
    Place,
    open_table,
    write_change,
    write_table,
    write_text_embeddings,
)
from ctxvision.vocabulary._text_embedding import Encode, embed
from ctxvision.vocabulary.packed_phrases import PackedPhrases
from ctxvision.vocabulary.phrase_row import PhraseRow


class PhraseTable:
    """Phrases and where they lie in the picture space; row numbers are the phrases' ids, which only `shrink` changes.

    One made by `from_arrays` lives in memory. One that was loaded is bound to its folder: each change is written there
    as a new generation, whole or not at all, and tables that others have open stay as they are.

    Attributes:
        phrases: the N phrases, NFC-normalised; a sequence that decodes what is asked for.
        prototypes: float32 or float16 [N, D], each row L2-normalised (Eq. 2).
        counts: int64 [N], pictures behind each prototype.
        language_ids: int16 [N], numbers of `language_codes`.
        language_codes: list of codes.
        live: bool [N], False for a phrase that was removed.
        flags: the boolean columns, bool [N] by name.
        text_embeddings: float32 [N, T], or None where they have not been computed.
        directory: the folder that it is bound to, or None.

    Example:
        >>> table = PhraseTable.from_arrays(["red car", "blue car"], [[1.0, 0.0], [0.0, 1.0]])
        >>> table.save("table")
        >>> PhraseTable.load("table").phrases[1]
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
    ) -> "PhraseTable":
        """A table in memory.

        Args:
            phrases: N different phrases of 1 to 1,000 UTF-8 bytes.
            prototypes: [N, D], any length above 0; stored L2-normalised.
            counts: int [N] of pictures behind each, 1 by default.
            languages: N codes, "en" by default.
            text_embeddings: [N, T].
            flags: bool [N] by name.
            dtype: of the prototypes, "float32" or "float16".

        Raises:
            InputError: the table is empty, shapes differ, a phrase is no str, empty, too long or there twice, a
                prototype is zero or not finite, a count is no integer of 0 or more, a text embedding is not finite,
                or a flag is not bool; the phrase is named.
        """
        kind, codes = checked_dtype(dtype), dict[str, int]()
        columns, hashes = checked_columns(
            phrases, prototypes, counts, languages, text_embeddings, flags, kind, codes
        )
        contents = Contents(columns, [*codes])
        columns.update(sorted_index(hashes, contents.phrases))
        return cls(contents)

    # === Reading ===

    @property
    def languages(self) -> np.ndarray:
        """str [N], made anew each time; of many rows `language_ids` take less."""
        return np.asarray(self.language_codes)[self.language_ids]

    def __len__(self) -> int:
        """N, removed rows too."""
        return len(self.live)

    def __iter__(self) -> Iterator[PhraseRow]:
        """The rows that are live."""
        columns = map(np.asarray, (self.live, self.prototypes, self.counts, self.language_ids))
        for phrase, live, prototype, count, language in zip(self.phrases, *columns, strict=True):
            if live:
                yield PhraseRow(phrase, prototype, int(count), self.language_codes[language])

    def ids(self, phrases: Sequence[str]) -> np.ndarray:
        """int32 row number of each phrase, -1 for one that is not there or was removed."""
        encoded = encoded_phrases(phrases)
        wanted = PackedPhrases.of(encoded)
        rows = find(self._contents, wanted, np.arange(len(encoded)), phrase_hashes(encoded))
        return np.where((rows >= 0) & self.live[rows], rows, np.int32(-1))

    def take(self, rows: ArrayLike) -> "PhraseTable":
        """A table in memory of these rows alone, in this order; ids are new.

        Raises:
            InputError: no row, or one twice.
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
        return PhraseTable(Contents(columns, self.language_codes))

    def with_text_embeddings(self, text_embeddings: np.ndarray) -> "PhraseTable":
        """The same table, no longer bound to a folder, with text embeddings float32 [N, T]."""
        text = np.asanyarray(text_embeddings, np.float32)
        if text.ndim != 2 or len(text) != len(self):
            raise InputError(
                f"text_embeddings must have shape [{len(self)}, T], one row for each phrase, got {list(text.shape)}: "
                f"embed all phrases of the table."
            )
        return PhraseTable(self._with_text(text))

    # === Changing ===

    def upsert(
        self,
        phrases: Sequence[str],
        prototypes: ArrayLike,
        counts: ArrayLike | None = None,
        languages: Sequence[str] | None = None,
        text_embeddings: ArrayLike | None = None,
        flags: Flags | None = None,
    ) -> np.ndarray:
        """Replaces the rows of known phrases, whose ids stay, and appends new ones.

        What is not given stays as it is for known phrases; new ones, and removed ones that come back, have count 1,
        language "en" and no flag then. A flag that the table did not have is False elsewhere. Without text embeddings
        for new phrases those of the whole table are dropped: compute them anew by `embed_texts`.

        Returns:
            int32 ids of the given phrases.

        Raises:
            InputError: as `from_arrays`; other columns than the table's; or the folder has moved on to a generation
                that others wrote. Nothing changes then.
        """
        new = PhraseTable.from_arrays(
            phrases, prototypes, counts, languages, text_embeddings, flags, self.prototypes.dtype.name
        )
        if new.text_embeddings is not None and self.text_embeddings is None:
            raise InputError(
                f"text_embeddings must be left out where the table has none, got {len(new)} rows: call embed_texts."
            )
        columns = {"counts": counts, "language_ids": languages, "text_embeddings": text_embeddings}
        given = {"prototypes", *(name for name, values in columns.items() if values is not None)}
        given |= {f"flag_{name}" for name in new.flags}
        return self._apply(*upserted(self._contents, new._contents, given))

    def merge(self, other: "PhraseTable") -> np.ndarray:
        """Takes in the live phrases of another table.

        The prototype of a phrase that both have becomes the L2-normalised mean of the two weighted by their counts (its
        own where they cancel out), and its counts add up. Flags set in either are set. Its language and text embedding
        stay.
        New phrases come as they are; where the other table has no text embeddings for them, those of the whole table
        are dropped.

        Returns:
            int32 ids of the other's live phrases, in its order.

        Raises:
            InputError: prototypes or text embeddings of other widths, or as `upsert`. Nothing changes then.
        """
        return self._apply(*merged(self._contents, other._contents))

    def remove(self, phrases: Sequence[str]) -> np.ndarray:
        """Takes phrases out; the ids of all others stay, and an `upsert` of the same phrase gives its id again.

        Returns:
            int32 ids of the phrases.

        Raises:
            InputError: a phrase is not there, none would be left, or as `upsert`. Nothing changes then.
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
        """Drops removed rows and those with fewer pictures than `min_count`; the others move up and get new ids.

        Raises:
            InputError: none would be left, or as `upsert`. Nothing changes then.
        """
        mask = self.live & (self.counts >= min_count)
        if not mask.any():
            raise InputError(
                f"min_count must leave at least one phrase, got {min_count} with {self.counts[self.live].max()} "
                f"pictures at most: lower it."
            )
        if not mask.all():
            self._apply(shrunk(self._contents, mask))

    def embed_texts(self, encode: Encode, batch_size: int = 8192) -> None:
        """Computes the text embeddings of all rows, removed ones too.

        Bound to a folder, batches go to disk as they come, and a call after a kill goes on where it was as long as the
        table is at the same generation and `encode` embeds the first batch as before.

        Args:
            encode: from a list of b phrases to float32 [b, T].
            batch_size: b at most.

        Raises:
            InputError: `encode` returns another shape or values that are not finite, or as `upsert`. Nothing changes
                then.
        """
        if batch_size < 1:
            raise InputError(f"batch_size must be at least 1, got {batch_size}: 8192 is usual.")
        if self._place is None:
            self._move(self._with_text(embed(self.phrases, encode, batch_size)))
        else:
            self._move(*write_text_embeddings(self._place, self._contents, encode, batch_size))

    # === On disk ===

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Writes the table as the next generation of a folder, whole or not at all.

        Raises:
            InputError: `directory` holds something that is no phrase table, which would be lost.
        """
        folder = Path(os.path.abspath(directory))
        contents, place = write_table(folder, self._contents)
        if self.directory and self.directory.exists() and folder.samefile(self.directory):
            self._move(contents, place)

    @classmethod
    def load(cls, directory: str | os.PathLike[str]) -> "PhraseTable":
        """Opens a table, bound to its folder; columns stay on disk until they are read, and then where they are.

        Raises:
            InputError: the folder holds no table, one of another format version, or a damaged one.
        """
        return cls(*open_table(Path(os.path.abspath(directory))))

    def _apply(self, change: Change, ids: np.ndarray | None = None) -> Any:
        """Makes the change, in RAM or on disk, and gives `ids` back."""
        if self._place is None:
            self._move(change.collect(self._contents))
        else:
            self._move(*write_change(self._place, self._contents, change))
        return ids

    def _with_text(self, text: np.ndarray) -> Contents:
        return Contents({**self._contents.columns, "text_embeddings": text}, self.language_codes)

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
