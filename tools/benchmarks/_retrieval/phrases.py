"""Makes different phrases of real words; common words occur more often."""

import re
from collections import Counter
from collections.abc import Callable
from pydoc_data.topics import topics

import numpy as np

LENGTHS = (2, 3, 4, 5)
_BITS = 12  # of a word's number
_DRAWN_AT_ONCE = 1 << 22


def phrases(number: int, seed: int = 0) -> Callable[[int, int], list[str]]:
    """Draws phrases of two to five words of Python's documentation, as frequent as there.

    Args:
        number: the number of different phrases.
        seed: seed of the draw.

    Returns:
        A function that gives the phrases of a range, `names(start, end)`.
    """
    counted = Counter(word for text in topics.values() for word in re.findall("[a-z]{2,}", text.lower()))
    words, counts = zip(*counted.items())
    if len(words) >= 1 << _BITS:
        raise ValueError(f"words must be fewer than {1 << _BITS}, got {len(words)}: raise _BITS.")
    random = np.random.default_rng(seed)
    codes = np.empty(0, np.int64)
    while len(codes) < number:
        drawn = _draw(random, np.cumsum(counts) / sum(counts), max(1024, min(2 * number, _DRAWN_AT_ONCE)))
        codes = np.union1d(codes, drawn)
    codes = random.permutation(codes)[:number]

    def names(start: int, end: int) -> list[str]:
        numbers = codes[start:end, np.newaxis] >> (_BITS * np.arange(max(LENGTHS))) & ((1 << _BITS) - 1)
        return [" ".join([words[i - 1] for i in row if i]) for row in numbers.tolist()]

    return names


def _draw(random: np.random.Generator, shares: np.ndarray, number: int) -> np.ndarray:
    """Draws phrases as int64 codes: 12 bits a word, 0 for no word."""
    lengths = random.choice(LENGTHS, number)
    codes = np.zeros(number, np.int64)
    for place in range(max(LENGTHS)):
        word = np.searchsorted(shares, random.random(number)) + 1
        codes |= np.where(place < lengths, word, 0).astype(np.int64) << (_BITS * place)
    return codes
