"""The vocabulary of a context or a run, changed and looked into without training."""

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
    """Adds a phrase to the vocabulary of a context or a run, or replaces it, from pictures of it.

    Its prototype is the mean of the pictures' query embeddings (Eq. 2). It may become context however few pictures
    there are, if the language filter admits `language`. A run changes its own fork of the phrases: its context stays as
    it is, and so do other runs. A classifier that the run has built finds the phrase at once; an export does from the
    next version on. After some thousand new phrases `run.classifier` is rebuilt.

    Args:
        owner: a context or a run that is trained, or its folder.
        phrase: 1 to 1,000 bytes of UTF-8.
        images: a folder of pictures, paths, or uint8 [N, S, S, 3].
        language: code of the phrase's language.
        text: read by the text encoder instead of the phrase, for a phrase whose words it cannot know.

    Returns:
        The phrase's id.

    Raises:
        InputError: no pictures, one that cannot be read, or a phrase or text without words; nothing changes then.
    """
    owner = opened(owner)
    context = context_of(owner)
    rows = context.phrase_embeddings.num_rows
    ids = of_context.add_phrase(context, phrase, images, language, text)
    _take_over(owner, ids, grown=context.phrase_embeddings.num_rows != rows)
    return int(ids[0])


def remove_phrases(owner: Owner, phrases: Sequence[str]) -> None:
    """Removes phrases from the vocabulary of a context or a run.

    Raises:
        InputError: a phrase is not there, or fewer would be left than the classifier needs; nothing changes then.
    """
    owner = opened(owner)
    needed = owner.choice.k if isinstance(owner, Run) else 1
    _take_over(owner, of_context.remove_phrases(context_of(owner), phrases, needed), grown=False)


def list_phrases(owner: Owner, language: str | None = None) -> list[FoundPhrase]:
    """Every phrase of a context or a run; see `context.phrases.list_phrases`."""
    return of_context.list_phrases(context_of(opened(owner)), language)


def search_phrases(owner: Owner, query: str, k: int = 10) -> list[FoundPhrase]:
    """The phrases of a context or a run nearest to a picture or to a phrase; see `context.phrases.search_phrases`."""
    return of_context.search_phrases(context_of(opened(owner)), query, k)


def phrase_stats(owner: Owner) -> PhraseStats:
    """What the vocabulary of a context or a run holds."""
    return of_context.phrase_stats(context_of(opened(owner)))


def opened(owner: Owner) -> "Context | Run":
    """The context or run itself, or that of the folder.

    Raises:
        InputError: the folder holds neither.
    """
    if isinstance(owner, (Context, Run)):
        return owner
    return Context(owner) if (Path(owner) / "context.json").is_file() else Run(owner)


def context_of(owner: "Context | Run") -> Context:
    """The context itself, or the run's with the run's own phrases."""
    return owner.context if isinstance(owner, Run) else owner


def _take_over(owner: "Context | Run", ids: np.ndarray, grown: bool) -> None:
    """Lets the classifier that a run has built find the change."""
    if not isinstance(owner, Run) or "classifier" not in owner.__dict__:
        return
    try:
        owner.classifier.retrieval.update(owner.context.phrase_table, ids)
    except ValueError:
        grown = True
    if grown:  # the next one is built with room
        del owner.classifier
