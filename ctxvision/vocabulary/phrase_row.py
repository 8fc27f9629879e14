"""One row of a phrase table."""

from typing import NamedTuple

import numpy as np


class PhraseRow(NamedTuple):
    """One phrase of a table."""

    phrase: str
    prototype: np.ndarray
    count: int  # type: ignore[assignment]  # shadows tuple.count, which rows do not need
    language: str
