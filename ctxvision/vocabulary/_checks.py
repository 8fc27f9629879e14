"""Checks arguments and converts them to the columns of a table."""

import unicodedata
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from ctxvision._limits import MOST_PHRASE_BYTES
from ctxvision.errors import InputError
from ctxvision.vocabulary._columns import block_rows
from ctxvision.vocabulary._language_ids import language_ids
from ctxvision.vocabulary._phrase_index import phrase_hashes
from ctxvision.vocabulary.ngrams import MOST_HASH_BUCKETS, Ngrams
from ctxvision.vocabulary.packed_phrases import PackedPhrases

DTYPES = ("float32", "float16")
# The columns for the text encoder; a table has at most one of them.
TEXT_COLUMNS = ("text_embeddings", "ngrams")
Flags = Mapping[str, ArrayLike]


def checked_columns(
    phrases: Sequence[str],
    prototypes: ArrayLike,
    counts: ArrayLike | None,
    languages: Sequence[str] | None,
    text_embeddings: ArrayLike | None,
    ngrams: Ngrams | None,
    flags: Flags | None,
    dtype: np.dtype,
    codes: dict[str, int],
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Makes the columns of a table, without its index, and uint64 [N] hashes of the phrases.

    New languages are added to `codes`, which maps languages to numbers.

    Raises:
        InputError: as in `PhraseTable.from_arrays`, except for duplicates.
    """
    encoded = encoded_phrases(phrases)
    _check_lengths(encoded)
    names = ["en"] * len(encoded) if languages is None else np.asarray(languages, object).tolist()
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(
            f"languages must be a sequence of str, got {_excerpt(names)}: give codes such as 'en'."
        )
    _check_shape("languages", (len(names),), encoded)
    packed = PackedPhrases.of(encoded)
    columns = {
        "phrases": packed.data,
        "phrase_ends": packed.ends,
        "prototypes": _unit_rows(encoded, prototypes, dtype),
        "counts": _checked_counts(encoded, counts),
        "live": np.ones(len(encoded), bool),
        **_checked_flags(encoded, flags or {}),
    }
    if text_embeddings is not None:
        columns["text_embeddings"] = _checked_text(encoded, text_embeddings)
    if ngrams is not None:
        columns["ngrams"] = _checked_ngrams(encoded, ngrams)
    if text_embeddings is not None and ngrams is not None:
        raise InputError(
            f"text_embeddings and ngrams must not both be given, got both for {len(encoded)} phrases: leave one out."
        )
    columns["language_ids"] = language_ids(names, codes)
    return columns, phrase_hashes(encoded)


def encoded_phrases(phrases: Sequence[str]) -> list[bytes]:
    """Normalises phrases to NFC and encodes them as UTF-8.

    Raises:
        InputError: `phrases` is not a sequence of str, or a phrase holds half a surrogate pair.
    """
    wrong = [phrases] if isinstance(phrases, str) else [p for p in phrases if not isinstance(p, str)]
    if wrong:
        raise InputError(
            f"phrases must be a sequence of str, got {wrong[0]!r}: decode bytes as UTF-8, put a single phrase in a "
            "list."
        )
    try:
        return [unicodedata.normalize("NFC", phrase).encode() for phrase in phrases]
    except UnicodeEncodeError as error:
        raise InputError(
            f"phrases must be valid Unicode, got {error.object!r}: decode bytes as UTF-8."
        ) from None


def checked_dtype(dtype: str) -> np.dtype:
    """Returns the dtype of prototypes, or raises an InputError."""
    if dtype not in DTYPES:
        raise InputError(f"dtype must be 'float32' or 'float16', got {dtype!r}: choose one of these.")
    return np.dtype(dtype)


def checked_flag_names(names: Sequence[str]) -> list[str]:
    """Returns the flag names, or raises an InputError; they must be identifiers because they become file names."""
    for name in names:
        if isinstance(names, str) or not isinstance(name, str) or not name.isidentifier():
            raise InputError(
                f"flags must have names that are Python identifiers, got {name!r}: choose a name such as 'adult'."
            )
    return list(names)


def check_width(name: str, columns: int, expected: int) -> None:
    """Raises an InputError unless prototypes, n-grams or text embeddings have as many columns as the table's."""
    if columns != expected:
        raise InputError(
            f"{name} must have {expected} columns like those of the table, got {columns}: use the same encoder."
        )


def check_hash_buckets(found: int | None, expected: int | None) -> None:
    """Raises an InputError unless n-grams have the hash of the table's."""
    if found != expected:
        raise InputError(
            f"ngrams must have {expected} hash buckets like those of the table, got {found}: use the same encoder."
        )


def _check_lengths(encoded: list[bytes]) -> None:
    if not encoded:
        raise InputError("phrases must not be empty, got none: give at least one.")
    for row, phrase in enumerate(encoded):
        if not phrase:
            raise InputError(f"phrases must not hold an empty phrase, got one at row {row}: leave it out.")
        if len(phrase) > MOST_PHRASE_BYTES:
            raise InputError(
                f"phrases must have at most {MOST_PHRASE_BYTES:,} UTF-8 bytes, got {len(phrase):,} for "
                f"{phrase[:40].decode(errors='ignore') + '...'!r}: leave it out."
            )


def _unit_rows(encoded: list[bytes], prototypes: ArrayLike, dtype: np.dtype) -> np.ndarray:
    rows = np.asarray(prototypes)
    if rows.ndim != 2 or len(rows) != len(encoded):
        raise InputError(
            f"prototypes must have shape [{len(encoded)}, D], one row for each phrase, got {list(rows.shape)}: "
            f"give one row per phrase."
        )
    units = np.empty(rows.shape, dtype)
    size = block_rows(rows)
    for start in range(0, len(rows), size):
        block = np.asarray(rows[start : start + size], np.float64)
        norms = np.linalg.norm(block, axis=1, keepdims=True)
        bad = np.flatnonzero(~np.isfinite(norms[:, 0]) | (norms[:, 0] == 0))
        if len(bad):
            raise InputError(
                f"prototypes must be finite and not zero, got {_excerpt(block[bad[0]].tolist())} for "
                f"{encoded[start + bad[0]].decode()!r}: leave the phrase out."
            )
        units[start : start + size] = block / norms
    return units


def _checked_counts(encoded: list[bytes], counts: ArrayLike | None) -> np.ndarray:
    if counts is None:
        return np.ones(len(encoded), np.int64)
    numbers = np.asarray(counts)
    _check_shape("counts", numbers.shape, encoded)
    whole = numbers.astype(np.int64) if numbers.dtype.kind in "iu" else np.full(len(encoded), -1)
    if (whole < 0).any():
        row = int(whole.argmin())
        raise InputError(
            f"counts must be integers of 0 or more, got {numbers[row]} for {encoded[row].decode()!r}: correct the "
            "count."
        )
    return whole


def _checked_text(encoded: list[bytes], text_embeddings: ArrayLike) -> np.ndarray:
    text = np.asarray(text_embeddings, np.float32)
    if text.ndim != 2 or len(text) != len(encoded) or not text.shape[1]:
        raise InputError(
            f"text_embeddings must have shape [{len(encoded)}, T], one row for each phrase, got {list(text.shape)}: "
            f"give one row per phrase."
        )
    bad = np.flatnonzero(~np.isfinite(text).all(axis=1))
    if len(bad):
        raise InputError(
            f"text_embeddings must be finite, got {_excerpt(text[bad[0]].tolist())} for "
            f"{encoded[bad[0]].decode()!r}: embed the phrase again."
        )
    return text


def _checked_ngrams(encoded: list[bytes], ngrams: Ngrams) -> np.ndarray:
    ids, most = np.asarray(ngrams.ids), ngrams.hash_buckets
    if not 1 <= most <= MOST_HASH_BUCKETS:
        raise InputError(
            f"hash_buckets of ngrams must be from 1 to {MOST_HASH_BUCKETS:,}, got {most}: use an encoder with fewer."
        )
    if ids.ndim != 2 or len(ids) != len(encoded) or not ids.shape[1] or ids.dtype.kind not in "iu":
        raise InputError(
            f"ids of ngrams must be integers of shape [{len(encoded)}, M], one row for each phrase, got {ids.dtype} "
            f"{list(ids.shape)}: hash the phrases with DualEncoderText.ngrams."
        )
    bad = np.flatnonzero(((ids < 0) | (ids > most)).any(axis=1))
    if len(bad):
        raise InputError(
            f"ids of ngrams must be from 0 to {most}, got {_excerpt(ids[bad[0]].tolist())} for "
            f"{encoded[bad[0]].decode()!r}: hash the phrase with DualEncoderText.ngrams."
        )
    return ids.astype(np.uint16)


def _checked_flags(encoded: list[bytes], flags: Flags) -> dict[str, np.ndarray]:
    columns = {}
    for name in checked_flag_names([*flags]):
        column = np.asarray(flags[name])
        _check_shape(f"flags[{name!r}]", column.shape, encoded)
        if column.dtype != bool:
            raise InputError(
                f"flags[{name!r}] must be bool, got {column.dtype}: convert it, for example with numbers > 0."
            )
        columns[f"flag_{name}"] = column.copy()
    return columns


def _check_shape(name: str, shape: tuple[int, ...], encoded: list[bytes]) -> None:
    if shape != (len(encoded),):
        raise InputError(
            f"{name} must have shape [{len(encoded)}], one value for each phrase, got {list(shape)}: give one value "
            "per phrase."
        )


def _excerpt(values: object) -> str:
    return (
        f"[{', '.join(map(repr, values[:3]))}, ...]"
        if isinstance(values, list) and len(values) > 3
        else repr(values)
    )
