"""Parquet files of captions and pictures, as CC3M, LAION and the like are kept once downloaded."""

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

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
    """Reads the split `web` from parquet files; another source has the labels.

    Columns, as their makers name them:

    - `caption`, `TEXT` or `text`: becomes phrases, see `caption_phrases`: those that 2 captions or more share.
    - the picture: encoded bytes in `jpg`, `png`, `webp`, `image` or `image_bytes`, or a struct with `bytes`; or a `key`,
      the name of the file that img2dataset wrote into the folder of the parquet file's name: `00012.parquet` and
      `00012/000120007.jpg`.
    - optional: `language` (or `LANGUAGE`, `lang`; English by default) and `status`, of which only "success" is read.

    Words and phrases in a `deny.txt` beside the files, one a line, are in no phrase. A row without a phrase is left out.

    Args:
        place: a folder of parquet files, one file, or a pattern.
        label_column: "label".

    Raises:
        InputError: pyarrow is not installed, no files, a file without the columns, or with addresses of pictures alone:
            nothing is downloaded here.
    """
    require_label_column("captions:", label_column)
    files = _files(place)
    tables = [_Table(path) for path in files]
    folder = os.path.dirname(files[0])
    deny = deny_file(place)
    denied = deny.read_text(encoding="utf-8").splitlines() if deny.is_file() else []
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
            f"captions: must name captions of which {MIN_COUNT} share a phrase, got none in {place!r}: give more."
        )
    stored = None if tables[0].files else _stored(tables, np.array(places, np.int64))
    web = Split("web", split.paths, split.labels, split.queries, None, stored)
    return Manifest(folder, label_column, {"web": web}, {}, f"captions:{place}")


def captions_of(place: str, language: str = "en") -> Iterator[tuple[str, str]]:
    """Caption and language of each row that `read_captions` reads, also of files that neither hold nor name pictures.

    Args:
        place: see `read_captions`.
        language: of a row that names none.

    Raises:
        InputError: pyarrow is not installed, no files, or a file without captions.
    """
    return _captions([_Table(path, needs_pictures=False) for path in _files(place)], language)


def deny_file(place: str) -> Path:
    """The `deny.txt` beside the files of a place, see `read_captions`; it need not be there."""
    return Path(os.path.dirname(_files(place)[0]), "deny.txt")


def _captions(tables: Sequence["_Table"], language: str = "en") -> Iterator[tuple[str, str]]:
    for table in tables:
        for _, caption, spoken in table.rows(language):
            yield caption, spoken


class _Table:
    """One parquet file; rows are numbers in it."""

    def __init__(self, path: str, needs_pictures: bool = True):
        self.path = path
        try:
            self._file = _parquet().ParquetFile(path)
        except _arrow().ArrowInvalid as error:
            raise InputError(
                f"{path} must be a parquet file, it is not ({error}): download it anew."
            ) from None
        names = self._file.schema_arrow.names
        self._caption = self._column(CAPTIONS, names)
        if self._caption is None:
            raise InputError(
                f"{path} needs a column {' or '.join(CAPTIONS)}, it has {', '.join(names)}: rename one."
            )
        self._language, self._picture = self._column(LANGUAGES, names), self._column(PICTURES, names)
        self._status = "status" if "status" in names else None
        self.files = self._listed() if self._picture is None else []
        if needs_pictures and self._picture is None and not self.files:
            raise InputError(
                f"{path} needs a column of encoded pictures ({', '.join(PICTURES)}), or files beside it in "
                f"{path.removesuffix('.parquet')!r} named by a column 'key', it has {', '.join(names)}: download the "
                "pictures first, img2dataset writes both."
            )

    def rows(self, default_language: str = "en") -> Iterator[tuple[int, str, str]]:
        """Row, caption and language of those that have a picture, where the file has any."""
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
        """Of the row's picture: its file, or what says where it is."""
        return self.files[row] if self.files else f"{self.path}#{row}"

    def pictures(self, rows: Sequence[int]) -> Iterator[tuple[int, bytes | None]]:
        """Of sorted rows; row groups that hold none of them are not read."""
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
        """The file of each row, "" where there is none."""
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
            f"captions: must name parquet files, got {place!r} which matches none: check the path."
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
