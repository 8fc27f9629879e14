"""An index in the making: its data, where it goes, and how it is tuned."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ctxvision._files import write_json
from ctxvision.vocabulary import PhraseTable

from .records import recall

RECALL = 0.95
K = 3
_ROWS_AT_A_TIME = 1 << 16

Settings = dict[str, Any]


class Index:
    """What builders share: the data, and where the index and its figures go."""

    def __init__(self, data: Path, out: Path, threads: int):
        self.data, self.out, self.threads = data, out, threads
        self.table = PhraseTable.load(data / "table")
        self.rows = self.table.prototypes
        self.queries = np.load(data / "tuning.npy")
        self.nearest = np.load(data / "tuning-nearest.npy")
        self.facts: dict[str, Any] = {"tune_seconds": None}

    def blocks(self) -> Iterator[np.ndarray]:
        for start in range(0, len(self.rows), _ROWS_AT_A_TIME):
            yield np.asarray(self.rows[start : start + _ROWS_AT_A_TIME])

    def timed(self, name: str, work: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = work()
        self.facts[f"{name}_seconds"] = round(time.perf_counter() - start, 1)
        return result

    def finish(self, settings: list[Settings], size: int) -> None:
        write_json(self.out / "settings.json", settings)
        self.facts["bytes_per_row"] = round(size / len(self.rows), 1)

    def least(self, name: str, fewest: int, most: int, search: Callable[[int], np.ndarray]) -> list[Settings]:
        """The least value that reaches the recall, by a search that gives ids of the tuning queries; and others."""

        def climb() -> int:
            for value in ladder(fewest, most):
                if recall(search(value), self.nearest, K) >= RECALL:
                    break
            return value

        return around(name, self.timed("tune", climb), fewest, most)


def ladder(fewest: int, most: int) -> list[int]:
    """`fewest`, powers of 2 and their 1.5-fold, `most`."""
    steps = {1 << i for i in range(most.bit_length())} | {3 << i for i in range(most.bit_length())}
    return sorted({fewest, most, *(step for step in steps if fewest < step < most)})


def around(name: str, chosen: int, fewest: int, most: int) -> list[Settings]:
    """The chosen value, then a quarter, half, twice and 4 times of it where they exist."""
    values = dict.fromkeys(
        [chosen, *(max(fewest, min(most, round(chosen * factor))) for factor in (0.25, 0.5, 2, 4))]
    )
    return [{name: value} for value in values]
