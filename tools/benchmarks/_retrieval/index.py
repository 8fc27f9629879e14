"""What index builders share: data, output folder and tuning."""

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
    """The data of a builder, and the folder and figures of its index."""

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
        """Finds the smallest value that reaches the recall, and returns it with others; `search` gives ids by value."""

        def climb() -> int:
            for value in ladder(fewest, most):
                if recall(search(value), self.nearest, K) >= RECALL:
                    break
            return value

        return around(name, self.timed("tune", climb), fewest, most)


def ladder(fewest: int, most: int) -> list[int]:
    """Lists `fewest`, powers of 2 and 1.5 times these, and `most`."""
    steps = {1 << i for i in range(most.bit_length())} | {3 << i for i in range(most.bit_length())}
    return sorted({fewest, most, *(step for step in steps if fewest < step < most)})


def around(name: str, chosen: int, fewest: int, most: int) -> list[Settings]:
    """Lists the chosen value and 1/4, 1/2, 2 and 4 times it, within the limits."""
    values = dict.fromkeys(
        [chosen, *(max(fewest, min(most, round(chosen * factor))) for factor in (0.25, 0.5, 2, 4))]
    )
    return [{name: value} for value in values]
