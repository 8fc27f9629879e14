"""The vocabulary: phrases, their prototypes, counts, languages and text embeddings."""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ctxvision._files import atomic_directory, read_json, write_json
from ctxvision.errors import InputError

FORMAT_VERSION = 1


class PhraseRow(NamedTuple):
    """One phrase of a table."""

    phrase: str
    prototype: np.ndarray
    count: int  # type: ignore[assignment]  # a row is read by name; tuple.count is not missed
    language: str


class PhraseTable:
    """Phrases and where they lie in the picture space; row numbers are the phrases' ids.

    Make one by `from_arrays` or `load`.

    Attributes:
        phrases: the N phrases, NFC-normalised; a sequence that decodes what is asked for.
        prototypes: float32 [N, D], each row L2-normalised (Eq. 2).
        counts: int64 [N], pictures behind each prototype.
        languages: list of N language codes.
        text_embeddings: float32 [N, T], or None where they have not been computed.

    Example:
        >>> table = PhraseTable.from_arrays(["red car", "blue car"], [[1.0, 0.0], [0.0, 1.0]])
        >>> table.save("table")
        >>> PhraseTable.load("table").phrases[1]
        'blue car'
    """

    def __init__(
        self,
        phrases: Sequence[str],
        prototypes: np.ndarray,
        counts: np.ndarray,
        languages: list[str],
        text_embeddings: np.ndarray | None,
    ):
        self.phrases = phrases
        self.prototypes = prototypes
        self.counts = counts
        self.languages = languages
        self.text_embeddings = text_embeddings
        self._rows: dict[str, int] | None = None

    @classmethod
    def from_arrays(
        cls,
        phrases: Sequence[str],
        prototypes: ArrayLike,
        counts: ArrayLike | None = None,
        languages: Sequence[str] | None = None,
        text_embeddings: ArrayLike | None = None,
    ) -> "PhraseTable":
        """A table in memory.

        Args:
            phrases: N different phrases.
            prototypes: [N, D], any length above 0; stored L2-normalised.
            counts: [N] pictures behind each, 1 by default.
            languages: N codes, "en" by default.
            text_embeddings: [N, T].

        Raises:
            InputError: the table is empty, lengths differ, a phrase is no str, empty or there twice, a prototype is
                zero or not finite, or a count is no integer of 0 or more; the phrase is named.
        """
        names = _normalised(phrases)
        rows = _unit_rows(names, prototypes)
        numbers = np.ones(len(names), np.int64) if counts is None else np.asarray(counts)
        codes = ["en"] * len(names) if languages is None else list(languages)
        text = None if text_embeddings is None else np.asarray(text_embeddings, np.float32)
        for column, values in (("counts", numbers), ("languages", codes), ("text_embeddings", text)):
            if values is not None and len(values) != len(names):
                raise InputError(
                    f"{column} must have one row for each of the {len(names)} phrases, got {len(values)}: align them."
                )
        whole = numbers.astype(np.int64) if numbers.dtype.kind in "iu" else np.full(len(names), -1)
        if (whole < 0).any():
            row = int(whole.argmin())
            raise InputError(
                f"counts must be integers of 0 or more, got {numbers[row]} for {names[row]!r}: correct it."
            )
        if np.asarray(codes).dtype.kind != "U":
            raise InputError(f"languages must be str, got {codes[:3]}: give codes such as 'en'.")
        return cls(names, rows, whole, codes, text)

    # === Reading ===

    def __len__(self) -> int:
        return len(self.phrases)

    def __iter__(self) -> Iterator[PhraseRow]:
        for row in zip(self.phrases, self.prototypes, self.counts, self.languages, strict=True):
            yield PhraseRow(row[0], row[1], int(row[2]), row[3])

    def ids(self, phrases: Sequence[str]) -> np.ndarray:
        """int32 row number of each phrase, -1 for one that is not there."""
        rows = self._row_numbers()
        return np.array([rows.get(unicodedata.normalize("NFC", phrase), -1) for phrase in phrases], np.int32)

    def with_text_embeddings(self, text_embeddings: np.ndarray) -> "PhraseTable":
        """The same table with text embeddings float32 [N, T]."""
        if len(text_embeddings) != len(self):
            raise InputError(
                f"text_embeddings must have one row for each of the {len(self)} phrases, got "
                f"{len(text_embeddings)}: embed all phrases of the table."
            )
        return PhraseTable(self.phrases, self.prototypes, self.counts, self.languages, text_embeddings)

    def take(self, rows: ArrayLike) -> "PhraseTable":
        """A table of these rows alone, in this order; ids are new."""
        rows = np.asarray(rows)
        return PhraseTable(
            [self.phrases[i] for i in rows],
            np.asarray(self.prototypes[rows]),
            np.asarray(self.counts[rows]),
            [self.languages[i] for i in rows],
            None if self.text_embeddings is None else np.asarray(self.text_embeddings[rows]),
        )

    # === Changing ===

    def upsert(
        self,
        phrases: Sequence[str],
        prototypes: ArrayLike,
        counts: ArrayLike | None = None,
        languages: Sequence[str] | None = None,
    ) -> None:
        """Replaces the rows of known phrases, whose ids stay, and appends new ones.

        Counts and languages that are not given stay as they are for known phrases and are 1 and "en" for new ones.
        Text embeddings are dropped, since those of the new rows are not known: compute them anew. Files that the
        table was loaded from change by `save` alone.

        Raises:
            InputError: as `from_arrays`, or prototypes with other columns than the table's; nothing changes then.
        """
        new = PhraseTable.from_arrays(phrases, prototypes, counts, languages)
        if new.prototypes.shape[1] != self.prototypes.shape[1]:
            raise InputError(
                f"prototypes must have {self.prototypes.shape[1]} columns as the table has, got "
                f"{new.prototypes.shape[1]}: use the same phrase generator."
            )
        ids = self.ids(new.phrases)
        known, fresh = np.flatnonzero(ids >= 0), np.flatnonzero(ids < 0)
        added = new.take(fresh)
        self.phrases = [*self.phrases, *added.phrases]
        # Copies, so that a loaded table's files stay as they are.
        self.prototypes = np.concatenate([self.prototypes, added.prototypes])
        self.counts = np.concatenate([self.counts, added.counts])
        self.languages = [*self.languages, *added.languages]
        self.prototypes[ids[known]] = new.prototypes[known]
        if counts is not None:
            self.counts[ids[known]] = new.counts[known]
        if languages is not None:
            for row in known:
                self.languages[ids[row]] = new.languages[row]
        self.text_embeddings = None
        self._rows = None

    def remove(self, phrases: Sequence[str]) -> None:
        """Takes phrases out; later rows move up, so that ids change.

        Raises:
            InputError: a phrase is not there, or none would be left; nothing changes then.
        """
        ids = self.ids(phrases)
        if (ids < 0).any():
            missing = phrases[int(ids.argmin())]
            raise InputError(f"phrases to remove must be in the table, got {missing!r}: check the spelling.")
        rows = np.setdiff1d(np.arange(len(self)), ids)
        if not len(rows):
            raise InputError(
                "phrases to remove must leave at least one in the table, got all of them: keep one."
            )
        kept = self.take(rows)
        self.phrases, self.prototypes, self.counts = kept.phrases, kept.prototypes, kept.counts
        self.languages, self.text_embeddings, self._rows = kept.languages, kept.text_embeddings, None

    # === On disk ===

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Writes the table as a folder of `.npy` columns, whole or not at all.

        Raises:
            InputError: `directory` holds something that is no phrase table, which would be lost.
        """
        folder = Path(directory)
        if (
            folder.exists()
            and not (folder / "table.json").is_file()
            and (folder.is_file() or any(folder.iterdir()))
        ):
            raise InputError(
                f"directory must be new, empty or hold a phrase table, got {str(directory)!r}: choose another."
            )
        with atomic_directory(directory) as folder:
            encoded = [phrase.encode() for phrase in self.phrases]
            ends = np.cumsum([len(phrase) for phrase in encoded], dtype=np.int64)
            codes, numbers = np.unique(self.languages, return_inverse=True)
            np.save(folder / "phrases.npy", np.frombuffer(b"".join(encoded), np.uint8))
            np.save(folder / "phrase_ends.npy", ends)
            np.save(folder / "prototypes.npy", self.prototypes)
            np.save(folder / "counts.npy", self.counts)
            np.save(folder / "languages.npy", numbers.astype(np.int16))
            if self.text_embeddings is not None:
                np.save(folder / "text_embeddings.npy", self.text_embeddings)
            write_json(
                folder / "table.json",
                {
                    "format_version": FORMAT_VERSION,
                    "rows": len(self),
                    "languages": codes.tolist(),
                    "text_embeddings": self.text_embeddings is not None,
                },
            )

    @classmethod
    def load(cls, directory: str | os.PathLike[str]) -> "PhraseTable":
        """Opens a saved table; the large columns stay on disk until they are read.

        Raises:
            InputError: the folder holds no table, one of another format version, or a damaged one.
        """
        folder = Path(directory)
        if not (folder / "table.json").is_file():
            raise InputError(
                f"directory must hold a phrase table, got {str(directory)!r}: save one there first."
            )
        try:
            facts = read_json(folder / "table.json")
            version = facts["format_version"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"phrase table {str(directory)!r} is damaged (table.json: {error}): save it anew."
            ) from None
        if version != FORMAT_VERSION:
            raise InputError(
                f"phrase table {str(directory)!r} must have format version {FORMAT_VERSION}, got {version}: "
                f"write it with this version of ctxvision."
            )

        try:
            return cls(*_columns(folder, facts))
        except (OSError, EOFError, ValueError, LookupError, TypeError) as error:
            raise InputError(f"phrase table {str(directory)!r} is damaged ({error}): save it anew.") from None

    def _row_numbers(self) -> dict[str, int]:
        if self._rows is None:
            self._rows = {phrase: row for row, phrase in enumerate(self.phrases)}
        return self._rows


class PackedPhrases(Sequence[str]):
    """UTF-8 phrases in one array of bytes, each decoded when it is asked for."""

    def __init__(self, data: np.ndarray, ends: np.ndarray):
        self._data, self._ends = data, ends

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, row):  # type: ignore[no-untyped-def]
        if isinstance(row, slice):
            return [self[i] for i in range(*row.indices(len(self)))]
        if not -len(self) <= row < len(self):
            raise IndexError(row)
        row = int(row) % len(self)
        start = self._ends[row - 1] if row else 0
        return self._data[start : self._ends[row]].tobytes().decode()


def _columns(folder: Path, facts: dict[str, Any]) -> tuple:
    """The arguments of `PhraseTable`, memory-mapped; any exception means that the folder is damaged."""

    def column(name: str) -> np.ndarray:
        values = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        if name != "phrases" and len(values) != facts["rows"]:
            raise ValueError(f"{name}.npy: {len(values)} rows instead of {facts['rows']}")
        return values

    # Plain arrays over the same mapped memory: slicing a memmap is slow.
    data, ends = np.asarray(column("phrases")), np.asarray(column("phrase_ends"))
    if len(data) != ends[-1]:
        raise ValueError(f"phrases.npy: {len(data)} bytes instead of {ends[-1]}")
    languages = np.asarray(facts["languages"])[column("languages")].tolist()
    text_embeddings = column("text_embeddings") if facts["text_embeddings"] else None
    return PackedPhrases(data, ends), column("prototypes"), column("counts"), languages, text_embeddings


def _normalised(phrases: Sequence[str]) -> list[str]:
    other = next((phrase for phrase in phrases if not isinstance(phrase, str)), None)
    if other is not None or isinstance(phrases, str):
        raise InputError(
            f"phrases must be a sequence of str, got {other or phrases!r}: decode bytes as UTF-8."
        )
    names = [unicodedata.normalize("NFC", phrase) for phrase in phrases]
    if not names:
        raise InputError("phrases must not be empty, got none: give at least one.")
    if "" in names:
        raise InputError(
            f"phrases must not hold an empty phrase, got one at row {names.index('')}: leave it out."
        )
    if len(set(names)) < len(names):
        twice = Counter(names).most_common(1)[0][0]
        raise InputError(
            f"phrases must differ (after NFC normalisation), got {twice!r} twice: merge its rows."
        )
    return names


def _unit_rows(names: list[str], prototypes: ArrayLike) -> np.ndarray:
    rows = np.asarray(prototypes, np.float32)
    if rows.ndim != 2 or len(rows) != len(names):
        raise InputError(
            f"prototypes must have shape [{len(names)}, D], one row for each phrase, got {list(rows.shape)}: align them."
        )
    norms = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    bad = np.flatnonzero(~np.isfinite(norms[:, 0]) | (norms[:, 0] == 0))
    if len(bad):
        raise InputError(
            f"prototypes must be finite and not zero, got {rows[bad[0]][:3]}... for {names[bad[0]]!r}: leave it out."
        )
    return (rows / norms).astype(np.float32)
