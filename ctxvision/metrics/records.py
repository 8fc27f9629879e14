"""The records of `metrics.json`: a flat list of measured values."""

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ctxvision._files import read_json_of, write_json
from ctxvision.errors import InputError
from ctxvision.metrics.classification import mean_and_deviation


@dataclass(frozen=True, kw_only=True)
class Record:
    """One measured value with its keys; a key that does not apply is None.

    Args:
        suite: the evaluation, such as "table1".
        data: name of the data set.
        method: "visual_only", "multimodal", "shuffled_phrases", ...
        fraction: share of the labelled pictures that pre-trained the visual encoder, 0..1.
        shots: pictures per label in few-shot suites.
        vocabulary: number of phrases that could be retrieved.
        seed: seed of the training.
        split: the part of the data, such as "test".
        metric: "top1", "top5", "hit@3", ...
        value: a finite number; accuracies lie in 0..1.

    Example:
        >>> Record(suite="table1", method="multimodal", fraction=0.1, seed=0, split="test",
        ...        metric="top1", value=0.25).value
        0.25
    """

    suite: str
    data: str | None = None
    method: str | None = None
    fraction: float | None = None
    shots: int | None = None
    vocabulary: int | None = None
    seed: int | None = None
    split: str | None = None
    metric: str
    value: float

    def __post_init__(self) -> None:
        number = isinstance(self.value, (int, float)) and not isinstance(self.value, bool)
        if not number or not math.isfinite(self.value):
            raise ValueError(
                f"value of {self.suite}/{self.method}/{self.metric} must be a finite number, got "
                f"{self.value!r}; leave out the record if nothing was measured."
            )


KEYS = tuple(field.name for field in fields(Record))


def load_records(path: str | os.PathLike[str]) -> list[Record]:
    """Reads a `metrics.json`.

    Raises:
        InputError: the file is missing, is not JSON, or is not a list of records.
    """
    path = Path(path)
    run = path.parent
    if not path.is_file():
        raise InputError(f"{run} must hold {path.name}, got none: run ctxvision evaluate {run}.")
    command = f"ctxvision evaluate {run}"
    rows = read_json_of(path, list, command)
    records = []
    for number, row in enumerate(rows):
        try:
            records.append(Record(**row))
        except (TypeError, ValueError) as error:
            raise InputError(
                f"{path} must hold records with the keys {', '.join(KEYS)}, and record {number} is not "
                f"one ({error}); delete the file and run `{command}` again."
            ) from error
    return records


def save_records(path: str | os.PathLike[str], records: Iterable[Record]) -> None:
    """Writes records into a `metrics.json`, atomically.

    New records replace the file's records of the same suites; records of other suites stay.

    Args:
        path: the file; created if it is missing.
        records: all records of one or more suites.
    """
    new = list(records)
    suites = {record.suite for record in new}
    old = load_records(path) if Path(path).exists() else []
    kept = [record for record in old if record.suite not in suites]
    write_json(path, [asdict(record) for record in kept + new])


def select(records: Iterable[Record], **keys: Any) -> list[Record]:
    """Returns the records with the given values of keys, in their order.

    Example:
        >>> one = Record(suite="table1", split="seen", metric="top1", value=0.5)
        >>> select([one], split="unseen")
        []
    """
    _check_keys(keys)
    return [record for record in records if all(getattr(record, key) == value for key, value in keys.items())]


def summary(records: Iterable[Record], by: Sequence[str]) -> list[dict[str, Any]]:
    """Groups records and computes mean and deviation of each group.

    Args:
        records: the values of a group count as repetitions of one measurement.
        by: keys of a record, such as `("split", "fraction", "method", "metric")`; they must tell all measurements
            apart, except for the seed.

    Returns:
        One dict per group, in order of first appearance: the keys of `by`, then `mean`, `deviation`
        (sample standard deviation, 0.0 for one value) and `n`.
    """
    _check_keys(by)
    groups: dict[tuple[Any, ...], list[float]] = {}
    for record in records:
        groups.setdefault(tuple(getattr(record, key) for key in by), []).append(record.value)
    rows = []
    for group, values in groups.items():
        mean, deviation = mean_and_deviation(values)
        rows.append({**dict(zip(by, group)), "mean": mean, "deviation": deviation, "n": len(values)})
    return rows


def _check_keys(keys: Iterable[str]) -> None:
    unknown = [key for key in keys if key not in KEYS]
    if unknown:
        raise ValueError(f"keys must be among {', '.join(KEYS)}, got {', '.join(unknown)}; use these keys.")
