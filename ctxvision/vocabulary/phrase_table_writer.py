"""Writes a phrase table that is larger than memory, batch by batch."""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ctxvision.errors import InputError
from ctxvision.vocabulary._checks import (
    TEXT_COLUMNS,
    Flags,
    check_hash_buckets,
    check_width,
    checked_columns,
    checked_dtype,
    checked_flag_names,
)
from ctxvision.vocabulary._columns import ColumnFile, Contents
from ctxvision.vocabulary._phrase_index import sorted_index
from ctxvision.vocabulary.generations import describe, locked, next_generation
from ctxvision.vocabulary.ngrams import Ngrams


class PhraseTableWriter:
    """Writes a phrase table batch by batch as the next generation of its folder.

    Rows go to disk at once; 8 bytes per row stay in memory, and about 30 at the end. The folder is locked meanwhile.
    After an exception or a kill, the folder holds what it held before.

    Args:
        directory: a new or empty folder, or a phrase table's.
        dim: D, the number of columns of the prototypes.
        dtype: dtype of the prototypes, "float32" or "float16".
        flags: names of the flags.

    Raises:
        InputError: dim, dtype or a flag name is invalid; or at the end: there is no row, or a phrase is repeated (after
            NFC normalisation).

    Example:
        >>> with PhraseTableWriter("table", dim=2) as writer:
        ...     writer.append(["red car"], [[1.0, 0.0]], [3])
        ...     writer.append(["blue car"], [[0.0, 1.0]], [5])
        >>> cv.PhraseTable.load("table").ids(["blue car"])
        array([1], dtype=int32)
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        dim: int,
        dtype: str = "float32",
        flags: Sequence[str] = (),
    ):
        if dim < 1:
            raise InputError(
                f"dim must be at least 1, got {dim}: give the number of columns of the prototypes."
            )
        self._directory, self._dim, self._dtype = Path(directory), dim, checked_dtype(dtype)
        self._flags = checked_flag_names(flags)
        self._codes: dict[str, int] = {}
        self._hash_buckets: int | None = None
        self._hashes: list[np.ndarray] = []
        self._bytes = 0
        # True if an append was interrupted between two columns.
        self._torn = False
        self._files: dict[str, ColumnFile] = {}
        self._facts: dict[str, Any] = {}

    def __enter__(self) -> "PhraseTableWriter":
        with ExitStack() as stack:
            stack.enter_context(locked(self._directory, create=True))
            self._folder = stack.enter_context(next_generation(self._directory, self._facts))
            stack.push(self._finish)
            self._stack = stack.pop_all()
        return self

    def append(
        self,
        phrases: Sequence[str],
        prototypes: ArrayLike,
        counts: ArrayLike | None = None,
        languages: Sequence[str] | None = None,
        text_embeddings: ArrayLike | None = None,
        flags: Flags | None = None,
        ngrams: Ngrams | None = None,
    ) -> None:
        """Appends rows; ids continue those of earlier rows.

        Args:
            phrases: M phrases of 1 to 1,000 UTF-8 bytes.
            prototypes: [M, D], any length above 0; stored L2-normalised.
            counts: int [M], the number of pictures behind each prototype; None means 1.
            languages: M codes; None means "en".
            text_embeddings: [M, T]; given with every append or with none.
            flags: maps the name of a flag to bool [M]; flags that are not given are False.
            ngrams: n-grams of the M phrases; given with every append or with none, and not with `text_embeddings`.

        Raises:
            InputError: as in `PhraseTable.from_arrays`, or columns differ from earlier appends. Nothing is written
                then.
        """
        codes = dict(self._codes)
        columns, hashes = checked_columns(
            phrases, prototypes, counts, languages, text_embeddings, ngrams, flags, self._dtype, codes
        )
        check_width("prototypes", columns["prototypes"].shape[1], self._dim)
        unknown = [name for name in flags or {} if name not in self._flags]
        if unknown:
            raise InputError(
                f"flags must be among the writer's {self._flags}, got {unknown[0]!r}: name the flag in "
                "PhraseTableWriter."
            )
        for name in self._flags:
            columns.setdefault(f"flag_{name}", np.zeros(len(hashes), bool))
        if not self._files:
            for name, column in columns.items():
                self._files[name] = ColumnFile(self._folder / f"{name}.npy", column.dtype, column.shape[1:])
            self._hash_buckets = ngrams.hash_buckets if ngrams else None
        self._check_text(columns, ngrams, phrases[0])
        columns["phrase_ends"] += self._bytes

        torn, self._torn = self._torn, True
        for name, column in columns.items():
            self._files[name].append(column)
        self._torn = torn
        self._codes = codes
        self._hashes.append(hashes)
        self._bytes += len(columns["phrases"])

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        return self._stack.__exit__(kind, error, trace)

    def _check_text(self, columns: dict[str, np.ndarray], ngrams: Ngrams | None, phrase: str) -> None:
        for name in TEXT_COLUMNS:
            if (name in columns) != (name in self._files):
                raise InputError(
                    f"{name} must come with every append or with none, got {'some' if name in columns else 'none'} "
                    f"at {phrase!r}: give all."
                )
            if name in columns:
                check_width(name, columns[name].shape[1], self._files[name].row_shape[0])
        if ngrams is not None:
            check_hash_buckets(ngrams.hash_buckets, self._hash_buckets)

    def _finish(self, kind: object, error: BaseException | None, trace: object) -> None:
        with ExitStack() as stack:
            for file in self._files.values():
                stack.callback(file.close)
        if error is not None:
            return
        if self._torn:
            raise RuntimeError(
                f"An append to {str(self._directory)!r} was interrupted: write the table again."
            )
        if not self._files:
            raise InputError("phrases must not be empty, got none: append at least one.")
        columns = {name: np.load(self._folder / f"{name}.npy", mmap_mode="r") for name in self._files}
        contents = Contents(columns, [*self._codes], self._hash_buckets)
        hashes = np.concatenate(self._hashes)
        self._hashes.clear()
        for name, column in sorted_index(hashes, contents.phrases).items():
            np.save(self._folder / f"{name}.npy", column)
        self._facts.update(describe(*contents))
