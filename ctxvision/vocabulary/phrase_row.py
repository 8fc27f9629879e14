"""One row of a phrase table."""

from typing import NamedTuple

import numpy as np


class PhraseRow(NamedTuple):
    """One phrase of a table."""

    phrase: str
    prototype: np.ndarray
    count: int  # type: ignore[assignment]  # a row is read by name; tuple.count is not missed
    language: str
