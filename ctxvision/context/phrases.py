"""Changes and searches the vocabulary of a context without training."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ctxvision.context.context import Context, text_of
from ctxvision.context.found_phrases import FoundPhrase, described
from ctxvision.data.folders import PICTURE_SUFFIXES
from ctxvision.data.images_csv import clean
from ctxvision.errors import InputError
from ctxvision.layers import DualEncoderText
from ctxvision.layers.retrieval.supported_rows import Rows, SupportedRows
from ctxvision.layers.retrieval.vocabulary import PINNED
from ctxvision.training.given_pictures import Images, given_pictures
from ctxvision.training.weights import embed
from ctxvision.vocabulary import Ngrams


class PhraseStats(NamedTuple):
    """Counts of a vocabulary."""

    phrases: int
    removed: int
    retrievable: int  # phrases that pass the language filter and the minimum count
    languages: dict[str, int]  # phrases per language, the largest number first
    pictures: dict[str, int]  # phrases with at least that many pictures: "1", "2", "5", "10", "100"
    bytes_on_disk: int


def add_phrase(
    context: Context, phrase: str, images: Images, language: str = "en", text: str | None = None
) -> np.ndarray:
    """Adds or replaces a phrase, see `classifier.phrases.add_phrase`; returns its id, int32 [1]."""
    table = context.phrase_table
    table.ids([phrase])  # raises if the phrase is not valid text
    if not clean(phrase):
        raise InputError(f"phrase must have words, got {phrase!r}: write at least one word.")
    phrase = clean(phrase)
    argument, words = ("phrase", phrase) if text is None else ("text", text)
    if context.text_encoder is None:
        meaning: dict[str, Any] = {"text_embeddings": _text_embedding(context, argument, words)}
    else:
        meaning = {"ngrams": _ngrams(context.text_encoder, argument, words)}
    embeddings = embed(context.phrase_generator, given_pictures(images, context.config.image_size))
    ids = table.upsert(
        [phrase],
        embeddings.mean(axis=0, keepdims=True),
        counts=np.array([len(embeddings)]),
        languages=[language],
        flags={PINNED: np.array([True])},
        **meaning,
    )
    context.phrase_embeddings.assign(text_of(table))
    return ids


def remove_phrases(context: Context, phrases: Sequence[str], needed: int = 1) -> np.ndarray:
    """Removes phrases and returns their ids, int32.

    Args:
        context: the context of the phrases.
        phrases: phrases of the table.
        needed: number of retrievable phrases that must remain.

    Raises:
        InputError: a phrase is not in the table, or fewer than `needed` would remain; the table is then unchanged.
    """
    table = context.phrase_table
    found = context.retrievable_ids()
    left = np.setdiff1d(found, table.ids(phrases))
    if len(left) < needed:
        raise InputError(
            f"phrases to remove must leave the {needed} that the classifier retrieves, got "
            f"{len(found) - len(left)} of {len(found)}: remove fewer phrases."
        )
    return table.remove(phrases)


def list_phrases(context: Context, language: str | None = None) -> list[FoundPhrase]:
    """Lists every phrase, in descending order of pictures; each `score` is 1.

    Raises:
        InputError: no phrase has ever had the language `language`.
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
    """Returns the retrievable phrases nearest to a picture or to a phrase, nearest first.

    Args:
        context: the context of the phrases.
        query: the path of a picture or a phrase. A picture ranks phrases by the cosine of its query embedding with
            their prototypes, as the classifier does (see `ContextConfig.phrase_support`). A phrase ranks them by the
            cosine of text embeddings.
        k: largest number of phrases.

    Raises:
        InputError: the picture is missing or cannot be read, the phrase has no words or only unknown words and letters,
            or `k` is below 1.
    """
    if k < 1:
        raise InputError(f"k must be at least 1, got {k}: 10 is usual.")
    table = context.phrase_table
    found = context.retrievable_ids()
    if os.path.isfile(query):
        vector = embed(context.phrase_generator, given_pictures([query], context.config.image_size))
        pinned = table.flags.get(PINNED)
        rows: Rows = SupportedRows(table.prototypes, table.counts, context.support, pinned)
        places = np.asarray(rows[found], np.float32)
    elif Path(query).suffix.lower() in PICTURE_SUFFIXES:
        raise InputError(
            f"query must be a phrase or a picture's file, got {query!r}, which does not exist: check the path."
        )
    else:
        vector = _text_embedding(context, "query", query)
        if not vector.any():
            raise InputError(
                f"query must share words or letters with the vocabulary's phrases, got {query!r}: try other words."
            )
        places = context.text_embeddings(found)
    scores = (vector @ places.T)[0]
    order = np.argsort(-scores, kind="stable")[:k]
    return described(context.phrase_table, found[order], scores[order])


def phrase_stats(context: Context) -> PhraseStats:
    """Counts the phrases of a vocabulary."""
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
    """Returns the embedding float32 [1, T] of a text; zeros if the encoder knows neither its words nor its letters."""
    encoder = context.text_encoder
    if encoder is None:
        if not text.strip():
            raise InputError(f"{argument} must have words, got {text!r}: write at least one word.")
        return context.embed_texts([text])
    return encoder.encode(_ngrams(encoder, argument, text).ids).numpy()


def _ngrams(encoder: DualEncoderText, argument: str, text: str) -> Ngrams:
    """Returns the n-grams of a text, which has at least one."""
    try:
        ngrams = encoder.ngrams([text])
    except ValueError:
        raise InputError(f"{argument} must be valid Unicode, got {text!r}: type it as UTF-8.") from None
    if not ngrams.ids.any():
        raise InputError(f"{argument} must have words, got {text!r}: write at least one word.")
    return ngrams


def _size(folder: Path | None) -> int:
    """Returns the bytes of a table's files, without `done.json`, which belongs to the stage."""
    files = folder.rglob("*") if folder else []
    return sum(file.stat().st_size for file in files if file.is_file() and file.name != "done.json")
