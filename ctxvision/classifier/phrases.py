"""Changes and searches the vocabulary of a context or a run without training."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from ctxvision.classifier.run import Run
from ctxvision.context import phrases as of_context
from ctxvision.context.context import Context
from ctxvision.context.found_phrases import FoundPhrase
from ctxvision.context.phrases import PhraseStats
from ctxvision.training.given_pictures import Images

Owner: TypeAlias = "Context | Run | str | os.PathLike[str]"


def add_phrase(
    owner: Owner, phrase: str, images: Images, language: str = "en", text: str | None = None
) -> int:
    """Adds or replaces a phrase in the vocabulary of a context or a run, from pictures of it.

    The phrase's prototype is the mean of the pictures' query embeddings (Eq. 2). The phrase is retrievable for any
    number of pictures, if the language filter admits `language`. A run changes its own fork of the phrases; its context
    and other runs do not change. A classifier that the run has built finds the phrase at once, an export from its next
    version on. After some thousand new phrases `run.classifier` is rebuilt.

    Args:
        owner: a context or a trained run, or its folder.
        phrase: 1 to 1,000 bytes of UTF-8.
        images: a folder of pictures, paths, or uint8 [N, S, S, 3].
        language: language code of the phrase.
        text: text that the text encoder reads instead of the phrase, for a phrase with words that it cannot know.

    Returns:
        The phrase's id.

    Raises:
        InputError: there are no pictures, a picture cannot be read, or the phrase or the text has no words; the
            vocabulary is then unchanged.

    Example:
        >>> phrase_id = cv.add_phrase("runs/photos", "our mascot", images="mascot", text="blue toy bear")
    """
    owner = opened(owner)
    context = context_of(owner)
    rows = context.phrase_embeddings.num_rows
    ids = of_context.add_phrase(context, phrase, images, language, text)
    _update_classifier(owner, ids, grown=context.phrase_embeddings.num_rows != rows)
    return int(ids[0])


def remove_phrases(owner: Owner, phrases: Sequence[str]) -> None:
    """Removes phrases from the vocabulary of a context or a run.

    Raises:
        InputError: a phrase is not in the vocabulary, or too few phrases would remain for the classifier; the
            vocabulary is then unchanged.

    Example:
        >>> cv.remove_phrases("contexts/web", ["ripe tomato"])
    """
    owner = opened(owner)
    needed = owner.choice.k if isinstance(owner, Run) else 1
    _update_classifier(owner, of_context.remove_phrases(context_of(owner), phrases, needed), grown=False)


def list_phrases(owner: Owner, language: str | None = None) -> list[FoundPhrase]:
    """Lists every phrase of a context or a run; see `context.phrases.list_phrases`.

    Example:
        >>> [found.phrase for found in cv.list_phrases("contexts/web", language="es")]
        ['amarillo', 'azul', 'rojo', 'verde']
    """
    return of_context.list_phrases(context_of(opened(owner)), language)


def search_phrases(owner: Owner, query: str, k: int = 10) -> list[FoundPhrase]:
    """Returns the retrievable phrases nearest to a picture or a phrase; see `context.phrases.search_phrases`.

    Example:
        >>> [found.phrase for found in cv.search_phrases("contexts/web", "picture.jpg", k=2)]
        ['red square', 'ripe tomato']
    """
    return of_context.search_phrases(context_of(opened(owner)), query, k)


def phrase_stats(owner: Owner) -> PhraseStats:
    """Counts the phrases of a context or a run; see `PhraseStats`.

    Example:
        >>> cv.phrase_stats("contexts/web").languages
        {'en': 8, 'es': 4}
    """
    return of_context.phrase_stats(context_of(opened(owner)))


def opened(owner: Owner) -> "Context | Run":
    """Returns the context or run itself, or opens the one in a folder.

    Raises:
        InputError: the folder holds neither a context nor a run.
    """
    if isinstance(owner, (Context, Run)):
        return owner
    return Context(owner) if (Path(owner) / "context.json").is_file() else Run(owner)


def context_of(owner: "Context | Run") -> Context:
    """Returns a context itself, or a run's context with the run's own phrases."""
    return owner.context if isinstance(owner, Run) else owner


def _update_classifier(owner: "Context | Run", ids: np.ndarray, grown: bool) -> None:
    """Updates the index of the classifier that a run has built."""
    if not isinstance(owner, Run) or "classifier" not in owner.__dict__:
        return
    try:
        owner.classifier.retrieval.update(owner.context.phrase_table, ids)
    except ValueError:
        grown = True
    if grown:  # the next classifier is built with room for more phrases
        del owner.classifier
