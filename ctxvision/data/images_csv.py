"""Reads the rows of an `images.csv` one after another, so that millions fit in memory."""

import csv
import functools
import operator
import os
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ctxvision._files import open_text
from ctxvision.data.split import Query, Split
from ctxvision.errors import InputError

SPLITS = ("web", "pretrain", "train", "val", "test")
_NEEDED_COLUMNS = ("image", "split")
_OTHER_COLUMNS = ("queries", "languages")
_LARGEST_FIELD = 1 << 24  # characters: a picture with a long log exceeds the csv module's limit


def read_images_csv(root: str, label_column: str) -> dict[str, Split]:
    """Reads the splits of the `images.csv` in a folder, see `Manifest`.

    Rows share one object for equal labels, queries and lists of them, so a row costs little more than its path.
    """
    path = Path(root, "images.csv")
    columns = label_column.split("|")
    by_split: dict[str, Split] = {}
    labels_of = functools.cache(
        lambda fields: tuple(dict.fromkeys(parts(fields if isinstance(fields, str) else "|".join(fields))))
    )
    queries_of = query_reader()
    rows = _read_rows(path, columns)
    header = next(rows)[1]
    image, kind = (header.index(name) for name in _NEEDED_COLUMNS)
    queries, languages = (header.index(name) if name in header else None for name in _OTHER_COLUMNS)
    labels = operator.itemgetter(*(header.index(column) for column in columns))
    for line, row in rows:
        name = row[kind]
        split = by_split.get(name)
        if split is None:
            name = split_name(name.strip(), line)
            split = by_split[row[kind]] = by_split.setdefault(name, Split(name, [], [], []))
        split.paths.append(_picture_path(root, row[image].strip(), line))
        split.labels.append(labels_of(labels(row)))
        try:
            texts = "" if queries is None else row[queries]
            spoken = "" if languages is None else row[languages]
            split.queries.append(queries_of(texts, spoken) if texts else ())
        except ValueError as error:
            raise InputError(
                f"images.csv line {line} must name one language per query or none, got {error}: align the columns "
                "queries and languages."
            ) from None
    return {split.name: split for split in by_split.values()}


def query_reader() -> Callable[[str, str], tuple[Query, ...]]:
    """Makes a function that reads |-separated queries and languages into distinct, cleaned queries.

    Equal queries are one object. The function raises a ValueError with both counts if they differ.
    """
    known: dict[tuple[str, str], Query | None] = {}

    def query(text: str, language: str) -> Query | None:
        cleaned = clean(text.lower())
        return Query(cleaned, language.strip() or "en") if cleaned else None

    def read(texts: str, languages: str = "") -> tuple[Query, ...]:
        raw = texts.split("|")
        spoken = languages.split("|") if languages.strip() else ["en"] * len(raw)
        if len(spoken) != len(raw):
            raise ValueError(f"{len(spoken)} languages for {len(raw)} queries")
        found: dict[str, Query] = {}
        for key in zip(raw, spoken):
            if key not in known:
                known[key] = query(*key)
            one = known[key]
            if one is not None:
                found.setdefault(one.text, one)
        return tuple(found.values())

    return read


def parts(field: str) -> list[str]:
    """Splits a |-separated field into cleaned values, without empty ones."""
    return [part for part in (clean(part) for part in field.split("|")) if part]


# Soft hyphen, zero-width space, word joiner, byte order mark and direction marks. The zero-width joiners stay, because
# emoji and some scripts need them.
_UNSEEN = dict.fromkeys(
    [0x00AD, 0x200B, 0x2060, 0xFEFF, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
)


def clean(text: str) -> str:
    """Normalises a text: NFC, single spaces, no invisible characters."""
    return " ".join(unicodedata.normalize("NFC", text).translate(_UNSEEN).split())


def split_name(name: str, line: int) -> str:
    """Returns the name if it names a split, else raises an InputError about this `line` of images.csv."""
    if not name:
        raise InputError(
            f"images.csv line {line} must name a split, got an empty column 'split': "
            f"write one of {', '.join(SPLITS)}."
        )
    if not is_split(name):
        raise InputError(
            f"the split in images.csv line {line} must be one of {', '.join(SPLITS)} or test:NAME, "
            f"got {name!r}: rename it."
        )
    return name


def is_split(name: str) -> bool:
    """Tells whether this is the name of a split."""
    return name in SPLITS or (name.startswith("test:") and name != "test:")


def _read_rows(path: Path, label_columns: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Yields (line, fields) of the header, after checking its columns, and then of each row."""
    if not path.is_file():
        raise InputError(
            f"data must be a folder with an images.csv, got {path.parent}, which has none: check the path."
        )
    csv.field_size_limit(_LARGEST_FIELD)
    with open_text(path, newline="") as file:
        reader = csv.reader(file, strict=True)
        line = header = 0
        try:
            columns = next(reader, [])
            _check_columns(path, columns, label_columns)
            header = line = reader.line_num
            yield line, columns
            for fields in reader:
                if not fields:
                    continue
                line = reader.line_num
                if len(fields) > len(columns):
                    raise InputError(
                        f"{path} line {line} must have {len(columns)} fields, got {len(fields)}: "
                        "put fields that hold a comma in double quotes."
                    )
                if len(fields) < len(columns):
                    fields += [""] * (len(columns) - len(fields))
                yield line, fields
        except csv.Error as error:
            # An unclosed quote swallows the rest of the file, so the message names the line where it begins.
            raise InputError(
                f"{path} must be a csv file, got {error} in line {line + 1}: correct the line."
            ) from error
    if line == header:
        raise InputError(f"{path} must have a row per picture, got none below the header: add rows.")


def _check_columns(path: Path, columns: list[str], label_columns: Sequence[str]) -> None:
    there = ", ".join(columns) or "none"
    for column in _NEEDED_COLUMNS:
        if column not in columns:
            raise InputError(f"{path} must have a column {column!r}, got {there}: add or rename one.")
    for column in label_columns:
        if column not in columns:
            others = [c for c in columns if c not in (*_NEEDED_COLUMNS, *_OTHER_COLUMNS)]
            raise InputError(
                f"the label column must be one of {', '.join(others) or 'none'} in {path}, got {column!r}: "
                "name one of these or add that column."
            )


def _picture_path(root: str, image: str, line: int) -> str:
    if not image:
        raise InputError(f"images.csv line {line} must name a picture, got an empty column 'image': fill it.")
    if "\0" in image:
        raise InputError(
            f"the image in images.csv line {line} must be a path, got {image!r}, which holds a NUL character: correct it."
        )
    if image[0] not in "./" and "/." not in image and "//" not in image:
        return f"{root}/{image}"  # fast path for the usual case
    inside = os.path.normpath(image)
    if os.path.isabs(inside) or inside.split(os.sep)[0] == os.pardir:
        raise InputError(
            f"the image in images.csv line {line} must be a relative path inside the data folder, "
            f"got {image!r}: move the picture into the folder."
        )
    return os.path.join(root, inside)
