"""Numbers for languages."""

from collections.abc import Iterable

import numpy as np

from ctxvision.errors import InputError

MOST = np.iinfo(np.int16).max


def language_ids(languages: Iterable[str], codes: dict[str, int]) -> np.ndarray:
    """Maps languages to their numbers, int16 [M]; new languages are added to `codes`.

    Raises:
        InputError: there are more different codes than int16 can number.
    """
    languages = list(languages)
    for code in dict.fromkeys(languages):
        codes.setdefault(code, len(codes))
    if len(codes) > MOST:
        raise InputError(
            f"languages must have at most {MOST:,} different codes, got {len(codes):,}: merge some."
        )
    return np.fromiter(map(codes.__getitem__, languages), np.int16, len(languages))
