"""A vocabulary, changed and looked into without training."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ctxvision.context.context import Context
from ctxvision.context.found_phrases import FoundPhrase, described
from ctxvision.data.folders import PICTURE_SUFFIXES
from ctxvision.data.images_csv import clean
from ctxvision.errors import InputError
from ctxvision.layers.retrieval.supported_rows import Rows, SupportedRows
from ctxvision.layers.retrieval.vocabulary import PINNED
from ctxvision.training.given_pictures import Images, given_pictures
from ctxvision.training.weights import embed


class PhraseStats(NamedTuple):
    """What a vocabulary holds."""

    phrases: int
    removed: int
    retrievable: int  # phrases that may become context
    languages: dict[str, int]  # phrases by language, most first
    pictures: dict[str, int]  # phrases with so many pictures or more: "1", "2", "5", "10", "100"
    bytes_on_disk: int


def add_phrase(
    context: Context, phrase: str, images: Images, language: str = "en", text: str | None = None
) -> np.ndarray:
    """Adds a phrase, or replaces it; see `classifier.phrases.add_phrase`. Returns its id, int32 [1]."""
    table = context.phrase_table
    table.ids([phrase])  # raises for a phrase that is not text
    if not clean(phrase):
        raise InputError(f"phrase must have words, got {phrase!r}: write some.")
    phrase = clean(phrase)
    meaning = (
        _text_embedding(context, "phrase", phrase) if text is None else _text_embedding(context, "text", text)
    )
    embeddings = embed(context.phrase_generator, given_pictures(images, context.config.image_size))
    ids = table.upsert(
        [phrase],
        embeddings.mean(axis=0, keepdims=True),
        counts=np.array([len(embeddings)]),
        languages=[language],
        text_embeddings=meaning,
        flags={PINNED: np.array([True])},
    )
    context.phrase_embeddings.assign(np.asanyarray(table.text_embeddings))
    return ids


def remove_phrases(context: Context, phrases: Sequence[str], needed: int = 1) -> np.ndarray:
    """Removes phrases and returns their ids, int32.

    Args:
        context: whose phrases they are.
        phrases: that are in the table.
        needed: how many retrievable phrases must be left.

    Raises:
        InputError: a phrase is not there, or fewer than `needed` would be left; nothing changes then.
    """
    table = context.phrase_table
    found = context.retrievable_ids()
    left = np.setdiff1d(found, table.ids(phrases))
    if len(left) < needed:
        raise InputError(
            f"phrases to remove must leave the {needed} that the classifier retrieves, got "
            f"{len(found) - len(left)} of {len(found)}: remove fewer."
        )
    ids = table.remove(phrases)
    context.phrase_embeddings.assign(np.asanyarray(table.text_embeddings))
    return ids


def list_phrases(context: Context, language: str | None = None) -> list[FoundPhrase]:
    """Every phrase, the ones with most pictures first; `score` is 1.

    Raises:
        InputError: a `language` that no phrase has had.
    """
    table = context.phrase_table
    if language is not None and language not in table.language_codes:
        raise InputError(
            f"language must be one of {', '.join(sorted(table.language_codes))}, got {language!r}: choose one of them."
        )
    kept = np.asarray(table.live)
    if language is not None:
        kept = kept & (table.languages == language)
    rows = np.flatnonzero(kept)
    rows = rows[np.argsort(-np.asarray(table.counts)[rows], kind="stable")]
    return described(context.phrase_table, rows, np.ones(len(rows)))


def search_phrases(context: Context, query: str, k: int = 10) -> list[FoundPhrase]:
    """The phrases nearest to a picture or to a phrase.

    Args:
        context: whose phrases they are.
        query: path of a picture: phrases by the cosine of its query embedding with their prototypes, as the
            classifier ranks them (see `ContextConfig.phrase_support`); or a phrase: by the cosine of text embeddings.
        k: how many at most.

    Raises:
        InputError: a picture that is missing or cannot be read, a phrase without words, or k below 1.
    """
    if k < 1:
        raise InputError(f"k must be at least 1, got {k}: 10 is usual.")
    table = context.phrase_table
    rows: Rows
    if os.path.isfile(query):
        vector = embed(context.phrase_generator, given_pictures([query], context.config.image_size))
        pinned = table.flags.get(PINNED)
        rows = SupportedRows(table.prototypes, table.counts, context.support, pinned)
    elif Path(query).suffix.lower() in PICTURE_SUFFIXES:
        raise InputError(
            f"query must be a phrase or a picture's file, got {query!r}, which is not there: check it."
        )
    else:
        assert table.text_embeddings is not None
        vector, rows = _text_embedding(context, "query", query), table.text_embeddings
        if not vector.any():
            raise InputError(
                f"query must share words or letters with the vocabulary's phrases, got {query!r}: try others."
            )
    found = context.retrievable_ids()
    scores = (vector @ np.asarray(rows[found], np.float32).T)[0]
    order = np.argsort(-scores, kind="stable")[:k]
    return described(context.phrase_table, found[order], scores[order])


def phrase_stats(context: Context) -> PhraseStats:
    """What a vocabulary holds."""
    table = context.phrase_table
    live, counts = np.asarray(table.live), np.asarray(table.counts)
    languages = np.bincount(np.asarray(table.language_ids)[live], minlength=len(table.language_codes))
    by_language = {table.language_codes[i]: int(languages[i]) for i in np.argsort(-languages, kind="stable")}
    return PhraseStats(
        phrases=int(live.sum()),
        removed=int((~live).sum()),
        retrievable=len(context.retrievable_ids()),
        languages={code: number for code, number in by_language.items() if number},
        pictures={str(n): int((counts[live] >= n).sum()) for n in (1, 2, 5, 10, 100)},
        bytes_on_disk=_size(table.directory),
    )


def _text_embedding(context: Context, argument: str, text: str) -> np.ndarray:
    """float32 [1, T]; zeros for words that the encoder does not know, not even by their letters."""
    encoder = context.text_encoder
    if encoder is None:
        if not text.strip():
            raise InputError(f"{argument} must have words, got {text!r}: write some.")
        return context.embed_texts([text])
    try:
        phrases = tf.constant([text])
        words = encoder.ngram_ids(phrases).numpy()
    except ValueError:
        raise InputError(f"{argument} must be valid Unicode, got {text!r}: type it as UTF-8.") from None
    if not words.any():
        raise InputError(f"{argument} must have words, got {text!r}: write some.")
    return encoder(phrases).numpy()


def _size(folder: Path | None) -> int:
    """Bytes of a table's files; `done.json` is not the table's own."""
    files = folder.rglob("*") if folder else []
    return sum(file.stat().st_size for file in files if file.is_file() and file.name != "done.json")
