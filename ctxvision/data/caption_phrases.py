"""Phrases from captions: n-grams that several captions share."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from ctxvision.data.images_csv import clean

MAX_WORDS = 3
# A phrase neither begins nor ends with these words, because they add no meaning there.
_STOPS = (
    "a about above after all am an and are as at be been before behind being below beside between both but by can could "
    "did do does doing down each for from had has have he her here hers him his how i if in into is it its just me more "
    "most my near next no nor not of off on onto or other our out over own s same she so some such t than that the "
    "their them then there these they this those through to too under until up upon us very was we were what when where "
    "which while who whom why will with would you your"
)
STOP_WORDS = frozenset(_STOPS.split())
_PLACEHOLDER = re.compile(r"<[a-z]+>")  # stands for a removed name, for example <PERSON>
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_BREAK = re.compile(r"[.,;:!?()\[\]{}\"“”|/\\\n]+")


def caption_phrases(
    captions: Callable[[], Iterable[tuple[str, str]]], min_count: int, deny: Sequence[str] = ()
) -> tuple[Iterator[tuple[str, ...]], Counter[tuple[str, str]]]:
    """Finds the phrases of each caption and counts the captions of each phrase.

    A phrase is a lower-cased n-gram of 1 to 3 words. It does not cross punctuation, does not begin with a number, and
    neither begins nor ends with an English stop word. A phrase is kept if at least `min_count` captions of its language
    contain it and it contains no denied phrase as whole words.

    Args:
        captions: a function that is called twice and yields each caption with its language.
        min_count: the number of captions that a phrase needs.
        deny: words and phrases that no kept phrase may contain.

    Returns:
        The kept phrases of each caption, longest first, and a count for each kept (phrase, language).

    Example:
        >>> rows = [("a red car on the beach", "en"), ("the red car", "en")]
        >>> list(caption_phrases(lambda: rows, 2)[0])
        [('red car', 'red', 'car'), ('red car', 'red', 'car')]
    """
    denied = deny_rule(deny)
    counts = count_phrases(captions())
    kept = Counter({key: n for key, n in counts.items() if n >= min_count and not denied(key[0])})
    found = (
        tuple(phrase for phrase in _ngrams(caption) if (phrase, language) in kept)
        for caption, language in captions()
    )
    return found, kept


def count_phrases(captions: Iterable[tuple[str, str]]) -> Counter[tuple[str, str]]:
    """Counts the captions of each (phrase, language); `captions` yields each caption with its language."""
    counts: Counter[tuple[str, str]] = Counter()
    for caption, language in captions:
        counts.update((phrase, language) for phrase in _ngrams(caption))
    return counts


def deny_rule(deny: Iterable[str]) -> Callable[[str], bool]:
    """Makes a function that tells whether a phrase contains a denied phrase, as whole words and in any case."""
    held = {words for phrase in deny if (words := tuple(_words(phrase)))}
    sizes = sorted({len(words) for words in held})

    def denied(phrase: str) -> bool:
        words = _words(phrase)
        return any(
            tuple(words[start : start + size]) in held
            for size in sizes
            for start in range(len(words) - size + 1)
        )

    return denied


def _words(phrase: str) -> list[str]:
    return _WORD.findall(clean(phrase.lower()))


def _ngrams(caption: str) -> dict[str, None]:
    """Lists distinct phrases, longest first, then in caption order."""
    parts = _BREAK.split(_PLACEHOLDER.sub(".", clean(caption.lower())))
    words = [_WORD.findall(part) for part in parts]
    found: dict[str, None] = {}
    for size in range(MAX_WORDS, 0, -1):
        for part in words:
            for start in range(len(part) - size + 1):
                gram = part[start : start + size]
                if gram[0] not in STOP_WORDS and gram[-1] not in STOP_WORDS and not gram[0].isdecimal():
                    found[" ".join(gram)] = None
    return found
