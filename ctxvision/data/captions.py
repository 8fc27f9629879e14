"""Parquet files of captions and pictures, such as downloads of CC3M or LAION."""

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ctxvision._files import open_text
from ctxvision.data.caption_phrases import caption_phrases
from ctxvision.data.folders import PICTURE_SUFFIXES
from ctxvision.data.image_folder import require_label_column
from ctxvision.data.manifest import Manifest
from ctxvision.data.split import Query, Split
from ctxvision.errors import InputError

CAPTIONS = ("caption", "TEXT", "text")
PICTURES = ("jpg", "png", "webp", "image", "image_bytes")
LANGUAGES = ("language", "LANGUAGE", "lang")
MIN_COUNT = 2
_BATCH = 4096


def read_captions(place: str, label_column: str = "label") -> Manifest:
    """Reads the split `web` from parquet files; labels come from another source.

    Columns, with the names that common data sets use:

    - `caption`, `TEXT` or `text`: a caption, from which `caption_phrases` makes queries. A phrase needs 2 captions.
    - The picture: either encoded bytes in `jpg`, `png`, `webp`, `image` or `image_bytes` (or a struct with `bytes`), or
      a `key`, the stem of a file that img2dataset wrote. `00012.parquet` has its files in `00012/`, for example
      `00012/000120007.jpg`.
    - Optional: `language` (or `LANGUAGE`, `lang`; English by default), and `status`; rows whose status is not "success"
      are skipped.

    An optional `deny.txt` beside the files lists words and phrases, one per line; no phrase contains them. Rows without
    a phrase are left out.

    Args:
        place: a folder of parquet files, one file, or a glob pattern.
        label_column: must be "label".

    Raises:
        InputError: pyarrow is not installed, no file matches, or a file lacks a needed column. Files that hold only
            URLs of pictures are refused, because nothing is downloaded.
    """
    require_label_column("captions:", label_column)
    files = _files(place)
    tables = [_Table(path) for path in files]
    folder = os.path.dirname(files[0])
    deny = deny_file(place)
    denied: list[str] = []
    if deny.is_file():
        with open_text(deny) as lines:
            denied = [line.rstrip("\n") for line in lines]
    split = Split("web", [], [], [])
    found, _ = caption_phrases(lambda: _captions(tables), MIN_COUNT, denied)
    places: list[tuple[int, int]] = []  # table and row
    queries: dict[tuple[str, str], Query] = {}
    for number, table in enumerate(tables):
        for row, _, language in table.rows():
            if not (phrases := next(found)):
                continue
            split.paths.append(table.name(row))
            split.labels.append(())
            split.queries.append(
                tuple(queries.setdefault((text, language), Query(text, language)) for text in phrases)
            )
            places.append((number, row))
    if not places:
        raise InputError(
            f"captions: must name a phrase that {MIN_COUNT} captions share, got none in {place!r}: give more "
            "captions."
        )
    stored = None if tables[0].files else _stored(tables, np.array(places, np.int64))
    web = Split("web", split.paths, split.labels, split.queries, None, stored)
    return Manifest(folder, label_column, {"web": web}, {}, f"captions:{place}")


def captions_of(place: str, language: str = "en") -> Iterator[tuple[str, str]]:
    """Yields caption and language of each row that `read_captions` reads; the files need no pictures.

    Args:
        place: see `read_captions`.
        language: the language of rows that name none.

    Raises:
        InputError: pyarrow is not installed, no file matches, or a file has no captions.
    """
    return _captions([_Table(path, needs_pictures=False) for path in _files(place)], language)


def deny_file(place: str) -> Path:
    """Returns the path of the `deny.txt` beside the files, see `read_captions`; the file need not exist."""
    return Path(os.path.dirname(_files(place)[0]), "deny.txt")


def _captions(tables: Sequence["_Table"], language: str = "en") -> Iterator[tuple[str, str]]:
    for table in tables:
        for _, caption, spoken in table.rows(language):
            yield caption, spoken


class _Table:
    """One parquet file; its rows are numbered from 0."""

    def __init__(self, path: str, needs_pictures: bool = True):
        self.path = path
        try:
            self._file = _parquet().ParquetFile(path)
        except _arrow().ArrowInvalid as error:
            raise InputError(
                f"{path} must be a parquet file, got a file that is not ({error}): download it again."
            ) from None
        names = self._file.schema_arrow.names
        self._caption = self._column(CAPTIONS, names)
        if self._caption is None:
            raise InputError(
                f"{path} must have a column {' or '.join(CAPTIONS)}, got the columns {', '.join(names)}: rename one."
            )
        self._language, self._picture = self._column(LANGUAGES, names), self._column(PICTURES, names)
        self._status = "status" if "status" in names else None
        self.files = self._listed() if self._picture is None else []
        if needs_pictures and self._picture is None and not self.files:
            raise InputError(
                f"{path} must have a column of encoded pictures ({', '.join(PICTURES)}), or a column 'key' that names "
                f"files in {path.removesuffix('.parquet')!r}, got the columns {', '.join(names)}: download the "
                "pictures first, for example with img2dataset."
            )

    def rows(self, default_language: str = "en") -> Iterator[tuple[int, str, str]]:
        """Yields row, caption and language; if the pictures are files, only rows that have one."""
        columns = [c for c in (self._caption, self._language, self._status) if c]
        row = 0
        for batch in self._file.iter_batches(_BATCH, columns=columns):
            found = batch.to_pydict()
            captions = found[self._caption]
            spoken = found[self._language] if self._language else [None] * len(captions)
            status = found[self._status] if self._status else ["success"] * len(captions)
            for caption, language, state in zip(captions, spoken, status):
                if caption and state == "success" and (not self.files or self.files[row]):
                    yield row, caption, language or default_language
                row += 1

    def name(self, row: int) -> str:
        """Returns the picture's file name, or a name made of parquet file and row."""
        return self.files[row] if self.files else f"{self.path}#{row}"

    def pictures(self, rows: Sequence[int]) -> Iterator[tuple[int, bytes | None]]:
        """Yields the encoded pictures of sorted rows, and reads only the row groups that hold them."""
        wanted = iter(rows)
        row, start = next(wanted, None), 0
        for group in range(self._file.num_row_groups):
            end = start + self._file.metadata.row_group(group).num_rows
            if row is not None and row < end:
                for batch in self._file.iter_batches(256, row_groups=[group], columns=[self._picture]):
                    values = batch.column(0)
                    while row is not None and row < start + len(values):
                        value: Any = values[row - start].as_py()
                        yield row, value["bytes"] if isinstance(value, dict) else value
                        row = next(wanted, None)
                    start += len(values)
            start = end

    def _listed(self) -> list[str]:
        """Returns the picture file of each row, "" if there is none."""
        folder = self.path.removesuffix(".parquet")
        if not os.path.isdir(folder) or "key" not in self._file.schema_arrow.names:
            return []
        there = {
            Path(name).stem: name for name in os.listdir(folder) if name.lower().endswith(PICTURE_SUFFIXES)
        }
        keys = self._file.read(columns=["key"]).column(0).to_pylist()
        return [os.path.join(folder, there[key]) if key in there else "" for key in keys]

    @staticmethod
    def _column(known: Sequence[str], names: Sequence[str]) -> str | None:
        return next((name for name in known if name in names), None)


def _stored(tables: list[_Table], places: np.ndarray) -> Any:
    def read(rows: np.ndarray) -> Iterator[tuple[int, bytes | None]]:
        for number in np.unique(places[rows, 0]):
            here = rows[places[rows, 0] == number]
            by_row = dict(zip(places[here, 1].tolist(), here.tolist()))
            for row, encoded in tables[number].pictures(sorted(by_row)):
                yield by_row[row], encoded

    return read


def _files(place: str) -> list[str]:
    pattern = os.path.join(glob.escape(place), "*.parquet") if os.path.isdir(place) else place
    found = sorted(os.path.abspath(path) for path in glob.glob(pattern))
    if not found:
        raise InputError(
            f"captions: must name parquet files, got {place!r}, which matches none: check the path."
        )
    return found


def _parquet() -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise InputError(
            "captions: needs pyarrow, which is not installed: pip install 'ctxvision[captions]'."
        ) from None
    return pyarrow.parquet


def _arrow() -> Any:
    import pyarrow

    return pyarrow
