"""Predicts many pictures and writes the predictions to a table."""

import csv
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

from ctxvision._files import atomic_path, open_text, saved_model_content, try_lock
from ctxvision.data.folders import picture_files
from ctxvision.errors import InputError
from ctxvision.serving.client import answers
from ctxvision.serving.loading import find_version
from ctxvision.serving.predictions import Refused

COLUMNS = ("path", "label", "score", "accepted", "phrases", "picture", "phrase_generator", "error")
# Paths may hold bytes that are not UTF-8. JSON reads their escapes back.
_ESCAPED = "backslashreplace"
_ROWS = 4096  # rows of a parquet file that are written together

Row = dict[str, Any]


class Written(NamedTuple):
    """Counts of a table: its pictures, and the pictures that have an error instead of an answer."""

    pictures: int
    refused: int


def predict_to_file(
    target: str | os.PathLike[str],
    images: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    explain: bool = False,
    name: str = "default",
    tell: Callable[[int, int], None] | None = None,
) -> Written:
    """Classifies many pictures into a table with one row per picture; the same call resumes after a stop.

    `OUT.unfinished` keeps the rows until all are complete. A picture that cannot be read has a row with an `error`.

    Args:
        target, explain, name: see `predict`.
        images: pictures, folders of pictures, and `.txt` files with one path of a picture per line.
        out: a new file. `.jsonl` has the fields of `Prediction.to_json`. `.csv` and `.parquet` have the columns `path`,
            `label`, `score`, `accepted` (labels that pass their thresholds), `phrases`, `picture` and
            `phrase_generator` (shares, with `explain`), and `error`. In `.csv`, `|` separates several values.
        tell: function that is called after each picture with the number of finished pictures and of all pictures.

    Returns:
        The number of pictures, and of pictures with an error.

    Raises:
        InputError: `out` exists, has another suffix, was begun by another call or with another export, or is written by
            another process; no pictures are named; or the target is neither an export nor an address.
        ServingError: see `predict`.

    Example:
        >>> cv.predict_to_file("serving/photos", "mascot", out="answers.csv")
        Written(pictures=4, refused=0)
    """
    place = Path(out)
    writer = _writer(place)
    paths = list(dict.fromkeys(named_pictures(images)))
    asked = {"target": str(target), "explain": explain}
    if Path(target).is_dir():
        # Rows of another export are not joined to these.
        model = hashlib.sha256(saved_model_content(find_version(target))).hexdigest()
        asked |= {"target": os.path.abspath(target), "model": model}
    journal = place.with_name(f"{place.name}.unfinished")
    with open(journal, "a", encoding="utf-8", errors=_ESCAPED) as file:
        if not try_lock(file):
            raise InputError(
                f"out must be written by one process, got {str(place)!r}, which another process writes: wait for that "
                "process, or choose another file."
            )
        known = _answered_before(journal, asked)
        missing = [path for path in paths if path not in known]
        if not journal.stat().st_size:
            _add(file, asked)
        for number, one in enumerate(answers(target, missing, explain, name), len(paths) - len(missing) + 1):
            row = {"path": one.path, "error": one.reason} if isinstance(one, Refused) else one.to_json()
            _add(file, row)
            if tell:
                tell(number, len(paths))
        with atomic_path(place) as temporary, writer(temporary) as write:
            refused = sum(_write(write, row) for row in _rows(journal, set(paths)))
        journal.unlink()
    return Written(len(paths), refused)


def named_pictures(images: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[str]:
    """Lists the paths of pictures that are named, that lie in folders, or that are on the lines of `.txt` files.

    Raises:
        InputError: there are none, or a `.txt` file is not UTF-8.
    """
    given = [images] if isinstance(images, str | os.PathLike) else images
    paths = list(_paths(given))
    if not paths:
        raise InputError(
            f"images must name pictures, got none in {', '.join(map(str, given))!r}: name files, folders or a .txt list."
        )
    return paths


def _paths(given: Sequence[str | os.PathLike[str]]) -> Iterator[str]:
    for one in given:
        path = Path(one)
        if path.is_dir():
            yield from picture_files(str(path))
        elif path.suffix.lower() == ".txt" and path.is_file():
            with open_text(path) as lines:
                yield from (line.strip() for line in lines if line.strip())
        else:
            yield os.fspath(one)


def _answered_before(journal: Path, asked: dict[str, Any]) -> set[str]:
    """Returns the pictures that an earlier call has answered, and removes an incomplete last row."""
    if not journal.is_file():
        return set()
    known, end = set(), 0
    with open(journal, "rb") as lines:
        for line in lines:
            if not line.endswith(b"\n"):
                break
            if end == 0 and (before := json.loads(line)) != asked:
                raise InputError(
                    f"out must be new or begun by the same call, got {str(journal)!r} of {before}: delete that file, "
                    "or choose another."
                )
            known |= {json.loads(line)["path"]} if end else set()
            end += len(line)
    os.truncate(journal, end)
    return known


def _add(file: IO[str], row: Row) -> None:
    file.write(json.dumps(row, ensure_ascii=False) + "\n")
    file.flush()


def _rows(journal: Path, wanted: set[str]) -> Iterator[Row]:
    with open(journal, encoding="utf-8") as lines:
        next(lines)
        yield from (row for row in map(json.loads, lines) if row["path"] in wanted)


def _write(write: Callable[[Row], None], row: Row) -> bool:
    write(row)
    return "error" in row


def _writer(place: Path) -> Callable[[Path], Any]:
    writers = {".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}
    if place.suffix not in writers:
        raise InputError(f"out must end in {', '.join(writers)}, got {str(place)!r}: rename it.")
    if place.exists():
        raise InputError(
            f"out must be a new file, got {str(place)!r}, which exists: delete that file, or choose another."
        )
    if place.suffix == ".parquet":
        _ = _pyarrow()  # raises before any picture is answered
    place.parent.mkdir(parents=True, exist_ok=True)
    return writers[place.suffix]


@contextmanager
def _jsonl(path: Path) -> Iterator[Callable[[Row], None]]:
    with open(path, "w", encoding="utf-8", errors=_ESCAPED) as file:
        yield lambda row: _add(file, row)


@contextmanager
def _csv(path: Path) -> Iterator[Callable[[Row], None]]:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()

        def write(row: Row) -> None:
            columns = _columns(row)
            writer.writerow({k: "|".join(v) if isinstance(v, list) else v for k, v in columns.items()})

        yield write


@contextmanager
def _parquet(path: Path) -> Iterator[Callable[[Row], None]]:
    pa, parquet = _pyarrow()
    texts, number = pa.list_(pa.string()), pa.float64()
    kinds = {
        "accepted": texts,
        "phrases": texts,
        "score": number,
        "picture": number,
        "phrase_generator": number,
    }
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in COLUMNS])
    waiting: list[Row] = []
    with parquet.ParquetWriter(path, schema) as writer:

        def flush() -> None:
            writer.write_table(pa.Table.from_pylist(waiting, schema))
            waiting.clear()

        def write(row: Row) -> None:
            waiting.append(_columns(row))
            if len(waiting) == _ROWS:
                flush()

        yield write
        flush()


def _columns(row: Row) -> Row:
    """Returns a row of the journal under `COLUMNS`; None for missing values."""
    known = {name: row.get(name) for name in ("path", "label", "score", "error")}
    for name in ("path", "error"):  # both may hold a path
        if text := row.get(name):
            known[name] = text.encode("utf-8", _ESCAPED).decode()
    top = row.get("top", [])
    accepted = (
        [one["label"] for one in top if one.get("accepted")] if any("accepted" in o for o in top) else None
    )
    phrases = [one["phrase"] for one in row["phrases"]] if "phrases" in row else None
    shares = {"picture": row.get("visual_share"), "phrase_generator": row.get("query_share")}
    return {**known, "accepted": accepted, "phrases": phrases, **shares}


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise InputError(
            "out must not be .parquet without pyarrow: pip install pyarrow, or write .jsonl."
        ) from None
    return pyarrow, pyarrow.parquet
