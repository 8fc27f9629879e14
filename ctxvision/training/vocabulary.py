"""A run's vocabulary, changed and looked into without training."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ctxvision.errors import InputError
from ctxvision.layers.retrieval.supported_rows import Rows, SupportedRows
from ctxvision.layers.retrieval.vocabulary import PINNED, retrievable_ids
from ctxvision.training.given_pictures import SUFFIXES, Images, given_pictures
from ctxvision.training.run import Run
from ctxvision.training.weights import embed


class FoundPhrase(NamedTuple):
    """A phrase of the vocabulary."""

    phrase: str
    score: float  # how near to what was searched for, at most 1
    count: int  # type: ignore[assignment]  # pictures behind its prototype; tuple.count is not missed
    language: str


class PhraseStats(NamedTuple):
    """What a vocabulary holds."""

    phrases: int
    removed: int
    retrievable: int  # phrases that may become context
    languages: dict[str, int]  # phrases by language, most first
    pictures: dict[str, int]  # phrases with so many pictures or more: "1", "2", "5", "10", "100"
    bytes_on_disk: int


def add_phrase(
    run: Run | str | os.PathLike[str],
    phrase: str,
    images: Images,
    language: str = "en",
    text: str | None = None,
) -> int:
    """Adds a phrase to a run's vocabulary, or replaces it, from pictures of it.

    Its prototype is the mean of the pictures' query embeddings (Eq. 2). It may become context however few pictures
    there are, provided that the run's language filter lets `language` pass. A classifier that the run has built finds
    it at once; an export does from the next version on. Where some thousand phrases have been added since it was
    built, there is no room for more, and `run.classifier` is another from then on.

    Args:
        run: past its training, or its folder.
        phrase: 1 to 1,000 bytes of UTF-8.
        images: a folder of pictures, paths, or uint8 [N, S, S, 3].
        language: code of the phrase's language.
        text: what the text encoder reads in the phrase's stead, for a phrase whose words it cannot know.

    Returns:
        The phrase's id.

    Raises:
        InputError: no pictures, one that cannot be read, or a phrase or text without words; nothing changes then.
    """
    run = run if isinstance(run, Run) else Run(run)
    table = run.phrase_table
    table.ids([phrase])  # refuses what is no text
    meaning = _text_embedding(run, "phrase", phrase) if text is None else _text_embedding(run, "text", text)
    embeddings = embed(run.phrase_generator, given_pictures(images, run.config.image_size))
    ids = table.upsert(
        [phrase],
        embeddings.mean(axis=0, keepdims=True),
        counts=np.array([len(embeddings)]),
        languages=[language],
        text_embeddings=meaning,
        flags={PINNED: np.array([True])},
    )
    _take_over(run, ids)
    return int(ids[0])


def remove_phrases(run: Run | str | os.PathLike[str], phrases: Sequence[str]) -> None:
    """Takes phrases out of a run's vocabulary.

    Raises:
        InputError: a phrase is not there, or fewer would be left than the classifier needs; nothing changes then.
    """
    run = run if isinstance(run, Run) else Run(run)
    table = run.phrase_table
    found = retrievable_ids(table, **run.retrievable)
    left = np.setdiff1d(found, table.ids(phrases))
    if len(left) < run.phrases_needed:
        raise InputError(
            f"phrases to remove must leave the {run.phrases_needed} that the classifier retrieves, got "
            f"{len(found) - len(left)} of {len(found)}: remove fewer."
        )
    _take_over(run, table.remove(phrases))


def list_phrases(run: Run | str | os.PathLike[str], language: str | None = None) -> list[FoundPhrase]:
    """Every phrase of a run, the ones with most pictures first; `score` is 1.

    Raises:
        InputError: a `language` that no phrase has had.
    """
    run = run if isinstance(run, Run) else Run(run)
    table = run.phrase_table
    if language is not None and language not in table.language_codes:
        raise InputError(
            f"language must be one of {', '.join(sorted(table.language_codes))}, got {language!r}: choose one of them."
        )
    kept = np.asarray(table.live)
    if language is not None:
        kept = kept & (table.languages == language)
    rows = np.flatnonzero(kept)
    rows = rows[np.argsort(-np.asarray(table.counts)[rows], kind="stable")]
    return _described(run, rows, np.ones(len(rows)))


def search_phrases(run: Run | str | os.PathLike[str], query: str, k: int = 10) -> list[FoundPhrase]:
    """The phrases nearest to a picture or to a phrase.

    Args:
        run: past its training, or its folder.
        query: path of a picture: phrases by the cosine of its query embedding with their prototypes, as the
            classifier ranks them (see `Config.phrase_support`); or a phrase: by the cosine of text embeddings.
        k: how many at most.

    Raises:
        InputError: a picture that is missing or cannot be read, a phrase without words, or k below 1.
    """
    run = run if isinstance(run, Run) else Run(run)
    if k < 1:
        raise InputError(f"k must be at least 1, got {k}: 10 is usual.")
    table = run.phrase_table
    rows: Rows
    if os.path.isfile(query):
        vector = embed(run.phrase_generator, given_pictures([query], run.config.image_size))
        pinned = table.flags.get(PINNED)
        rows = SupportedRows(table.prototypes, table.counts, run.config.phrase_support, pinned)
    elif Path(query).suffix.lower() in SUFFIXES:
        raise InputError(
            f"query must be a phrase or a picture's file, got {query!r}, which is not there: check it."
        )
    else:
        assert table.text_embeddings is not None
        vector, rows = _text_embedding(run, "query", query), table.text_embeddings
        if not vector.any():
            raise InputError(
                f"query must share words or letters with the run's phrases, got {query!r}: try others."
            )
    found = retrievable_ids(table, **run.retrievable)
    scores = (vector @ np.asarray(rows[found], np.float32).T)[0]
    order = np.argsort(-scores, kind="stable")[:k]
    return _described(run, found[order], scores[order])


def phrase_stats(run: Run | str | os.PathLike[str]) -> PhraseStats:
    """What a run's vocabulary holds."""
    run = run if isinstance(run, Run) else Run(run)
    table = run.phrase_table
    live, counts = np.asarray(table.live), np.asarray(table.counts)
    languages = np.bincount(np.asarray(table.language_ids)[live], minlength=len(table.language_codes))
    by_language = {table.language_codes[i]: int(languages[i]) for i in np.argsort(-languages, kind="stable")}
    return PhraseStats(
        phrases=int(live.sum()),
        removed=int((~live).sum()),
        retrievable=len(retrievable_ids(table, **run.retrievable)),
        languages={code: number for code, number in by_language.items() if number},
        pictures={str(n): int((counts[live] >= n).sum()) for n in (1, 2, 5, 10, 100)},
        bytes_on_disk=_size(table.directory),
    )


def _text_embedding(run: Run, argument: str, text: str) -> np.ndarray:
    """float32 [1, T]; zeros for words of which the encoder has learnt nothing, not even by their letters."""
    if run.config.phrase_table:
        if not text.strip():
            raise InputError(f"{argument} must have words, got {text!r}: write some.")
        return run.embed_texts([text])
    try:
        encoder, phrases = run.text_encoder, tf.constant([text])
        words = encoder.ngram_ids(phrases).numpy()
    except ValueError:
        raise InputError(f"{argument} must be valid Unicode, got {text!r}: type it as UTF-8.") from None
    if not words.any():
        raise InputError(f"{argument} must have words, got {text!r}: write some.")
    return encoder(phrases).numpy()


def _take_over(run: Run, ids: np.ndarray) -> None:
    """Lets what the run has built find the change."""
    table, encoder = run.phrase_table, run.text_encoder
    rows = encoder.folded_rows
    encoder.fold(np.asanyarray(table.text_embeddings))
    if "classifier" not in run.__dict__:
        return
    try:
        run.classifier.retrieval.update(table, ids)
        full = encoder.folded_rows != rows
    except ValueError:
        full = True
    if full:  # the next one is built with room
        del run.classifier


def _described(run: Run, rows: np.ndarray, scores: np.ndarray) -> list[FoundPhrase]:
    table = run.phrase_table
    return [
        FoundPhrase(
            table.phrases[row],
            float(score),
            int(table.counts[row]),
            table.language_codes[table.language_ids[row]],
        )
        for row, score in zip(rows.tolist(), scores)
    ]


def _size(folder: Path | None) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) if folder else 0
