"""The manifest of a data folder: which pictures there are, in which split, with which labels and queries."""

import csv
import io
import json
import os
import unicodedata
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ctxvision.errors import InputError

_SPLITS = ("web", "pretrain", "train", "val", "test")
_NEEDED_COLUMNS = ("image", "split", "queries")
_UNDECODABLE_SHARE = 0.01


class Query(NamedTuple):
    """What somebody typed to find a picture, and the language it was typed in ("en", "es")."""

    text: str
    language: str


@dataclass(frozen=True)
class Split:
    """The pictures of one split, in the order of the file; the three lists have the same length.

    Attributes:
        name: "web", "pretrain", "train", "val", "test" or "test:NAME".
        paths: absolute file names.
        labels: the labels of each picture; empty for a picture without any.
        queries: the queries of each picture, no text twice; empty for a picture without any.
    """

    name: str
    paths: list[str]
    labels: list[tuple[str, ...]]
    queries: list[tuple[Query, ...]]

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, rows: Iterable[int]) -> "Split":
        """The split with these rows alone, in this order."""
        rows = list(rows)
        return Split(
            self.name,
            [self.paths[row] for row in rows],
            [self.labels[row] for row in rows],
            [self.queries[row] for row in rows],
        )


@dataclass(frozen=True)
class Manifest:
    """A data folder: `images.csv`, optionally `labels.json`, and the pictures they speak of.

    Columns of `images.csv` (UTF-8, comma-separated, fields quoted where needed):

    - `image`: path of the picture, relative to the folder and inside it.
    - `split`: `web` (pictures with queries, from which phrases are learnt), `pretrain` (labelled
      pictures for the visual encoder; default: those of `train`), `train`, `val` (default: a part of
      `train` is held out), `test` or several of `test:NAME`, which are reported by NAME.
    - `label`: the picture's label, several separated by `|`; empty where there is none. Another column
      takes its place by `label_column`, or several whose labels are united (`label|coarse_label`).
    - `queries`: what people typed to find the picture, several separated by `|`.
    - `languages` (optional): the language of each query, `|`-separated and aligned with `queries`;
      empty means English ("en").

    Queries do not depend on case: they are lower-cased, NFC-normalised and their whitespace collapsed;
    empty ones and repetitions within one picture are dropped. `labels.json` (optional) maps a label to
    an object whose `synset_terms` are other words for it.

    Attributes:
        root: the folder, absolute.
        label_column: the column the labels come from, or several separated by `|`.
        by_split: the splits by name, in the order of the file.
        label_terms: label to its other words; empty without `labels.json`.

    Example:
        >>> manifest = Manifest.load("photos")
        >>> manifest.splits
        ['web', 'train', 'test']
        >>> manifest.split("train").labels[0]
        ('goldfish',)
    """

    root: str
    label_column: str
    by_split: dict[str, Split]
    label_terms: dict[str, list[str]]

    @classmethod
    def load(cls, folder: str | os.PathLike[str], label_column: str = "label") -> "Manifest":
        """Reads `images.csv` and `labels.json` of a folder; no picture is opened yet.

        Args:
            folder: the data folder.
            label_column: the column that holds the labels, or several separated by `|`, whose labels are united.

        Raises:
            InputError: something is missing or wrong; the sentence names file, line, value and remedy.
        """
        root = os.path.abspath(folder)
        if not os.path.isdir(root):
            raise InputError(f"data must name a folder with an images.csv, got {root}, which is no folder.")
        by_split: dict[str, Split] = {}
        columns = label_column.split("|")
        for line, row in _read_rows(Path(root, "images.csv"), columns):
            name = _split_name(row["split"].strip(), line)
            split = by_split.setdefault(name, Split(name, [], [], []))
            split.paths.append(_picture_path(root, row["image"].strip(), line))
            split.labels.append(tuple(dict.fromkeys(_parts("|".join(row[column] for column in columns)))))
            split.queries.append(_queries(row["queries"], row.get("languages", ""), line))
        return cls(root, label_column, by_split, _read_label_terms(Path(root, "labels.json")))

    @property
    def splits(self) -> list[str]:
        """Names of the splits that have rows, in the order of the file."""
        return list(self.by_split)

    def split(self, name: str) -> Split:
        """The split of that name; without rows where the file has none of it."""
        return self.by_split.get(name) or Split(name, [], [], [])

    def require_split(self, name: str) -> Split:
        """The split of that name; an InputError where the file has no row of it."""
        if name not in self.by_split:
            raise InputError(
                f"images.csv needs rows with split {name!r}, it has {', '.join(self.splits)}: "
                f"add rows of that split in {self.root}."
            )
        return self.by_split[name]

    def check_for_training(self, multi_label: bool = False, queries: bool = True) -> None:
        """Refuses a manifest that cannot be trained on, before anything is computed.

        Args:
            multi_label: pictures may have several labels, or none.
            queries: whether they are learnt from.

        Raises:
            InputError: no `web` or `train` split, no queries, fewer than 2 labels, a picture with no
                label or several (unless `multi_label`), or a label that `train` does not show.
        """
        if queries and not any(self.require_split("web").queries):
            raise InputError(
                "the web rows of images.csv must have queries, all of them are empty: "
                "fill the column queries, several separated by |."
            )
        trained = {label for labels in self.require_split("train").labels for label in labels}
        if not trained:
            raise InputError(
                f"the train rows of images.csv must have labels, column {self.label_column!r} is empty in "
                "all of them: fill it or choose another label column."
            )
        if len(trained) < 2:
            raise InputError(
                f"the train rows of images.csv must have at least 2 labels, got only {next(iter(trained))!r} "
                f"in column {self.label_column!r}: add pictures of another label."
            )
        for name, split in self.by_split.items():
            if name != "web":
                self._check_labels(split, trained, multi_label)

    def _check_labels(self, split: Split, trained: set[str], multi_label: bool) -> None:
        for path, labels in zip(split.paths, split.labels, strict=True):
            if len(labels) != 1 and not multi_label:
                raise InputError(
                    f"every picture of split {split.name!r} must have one label, "
                    f"{os.path.relpath(path, self.root)} has {'|'.join(labels) or 'none'}: "
                    "mend the row or train with multi-label."
                )
        unknown = sorted({label for labels in split.labels for label in labels} - trained)
        if unknown:
            raise InputError(
                f"every label of split {split.name!r} must also be in split 'train', got {_few(unknown)}: "
                "add train rows for it or leave its rows out."
            )


def check_pictures(split: Split, undecodable: Sequence[int]) -> Split:
    """Leaves out the pictures that could not be decoded, unless they are too many.

    Args:
        split: the split whose pictures were loaded.
        undecodable: positions of those that failed, as `load_pictures` returns them.

    Returns:
        The split without these rows; a warning names them.

    Raises:
        InputError: they are more than 1% of the split.
    """
    if not undecodable:
        return split
    failed = set(undecodable)
    names = _few([split.paths[row] for row in sorted(failed)])
    found = f"{len(failed)} of {len(split)} pictures of split {split.name!r} cannot be read or decoded"
    if len(failed) > _UNDECODABLE_SHARE * len(split):
        raise InputError(f"{found}, at most 1% may fail: mend these files or leave their rows out: {names}.")
    warnings.warn(f"{found} and are left out: {names}.", stacklevel=2)
    return split.take(row for row in range(len(split)) if row not in failed)


def _read_rows(path: Path, label_columns: Sequence[str]) -> Iterable[tuple[int, dict[str, str]]]:
    """Yields (line, row) of the csv file once its columns are known to be there."""
    if not path.is_file():
        raise InputError(f"data must be a folder with an images.csv, {path} is not there.")
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path} must be UTF-8, byte 0x{content[error.start]:02x} in line {line} is not: "
            "save it as UTF-8."
        ) from error
    reader = csv.DictReader(io.StringIO(text, newline=""), restval="", strict=True)
    line = 0
    try:
        columns = list(reader.fieldnames or ())
        _check_columns(path, columns, label_columns)
        header = line = reader.line_num
        for row in reader:
            line = reader.line_num
            if None in row:
                raise InputError(
                    f"{path} line {line} must have {len(columns)} fields, it has more: "
                    "put fields that hold a comma in double quotes."
                )
            yield line, row
    except csv.Error as error:
        # A quote that is never closed swallows the rest of the file: name the line it begins in.
        raise InputError(f"{path} must be a csv file, line {line + 1} is not ({error}): mend it.") from error
    if line == header:
        raise InputError(f"{path} must have a row per picture, it has none below the header.")


def _check_columns(path: Path, columns: list[str], label_columns: Sequence[str]) -> None:
    there = ", ".join(columns) or "none"
    for column in _NEEDED_COLUMNS:
        if column not in columns:
            raise InputError(f"{path} needs a column {column!r}, it has {there}: add or rename one.")
    for column in label_columns:
        if column not in columns:
            others = [c for c in columns if c not in (*_NEEDED_COLUMNS, "languages")]
            raise InputError(
                f"the label column must be one of {', '.join(others) or 'none'} in {path}, got {column!r}: "
                "name one of these or add that column."
            )


def _split_name(name: str, line: int) -> str:
    if not name:
        raise InputError(
            f"images.csv line {line} must name a split, column 'split' is empty: "
            f"write one of {', '.join(_SPLITS)}."
        )
    if name not in _SPLITS and not (name.startswith("test:") and name != "test:"):
        raise InputError(
            f"the split in images.csv line {line} must be one of {', '.join(_SPLITS)} or test:NAME, "
            f"got {name!r}: rename it."
        )
    return name


def _picture_path(root: str, image: str, line: int) -> str:
    if not image:
        raise InputError(f"images.csv line {line} must name a picture, column 'image' is empty: fill it.")
    inside = os.path.normpath(image)
    if os.path.isabs(inside) or inside.split(os.sep)[0] == os.pardir:
        raise InputError(
            f"the image in images.csv line {line} must be a relative path inside the data folder, "
            f"got {image!r}: move the picture into the folder."
        )
    return os.path.join(root, inside)


def _parts(field: str) -> list[str]:
    """The values of a |-separated field, NFC-normalised, whitespace collapsed, empty ones left out."""
    return [part for part in (_clean(part) for part in field.split("|")) if part]


def _clean(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


def _queries(texts: str, languages: str, line: int) -> tuple[Query, ...]:
    raw = texts.split("|")
    spoken = languages.split("|") if languages.strip() else ["en"] * len(raw)
    if len(spoken) != len(raw):
        raise InputError(
            f"images.csv line {line} must name a language per query or none, got {len(spoken)} languages for "
            f"{len(raw)} queries: align the columns queries and languages."
        )
    found: dict[str, Query] = {}
    for text, language in zip(raw, spoken, strict=True):
        if text := _clean(text.lower()):
            found.setdefault(text, Query(text, language.strip() or "en"))
    return tuple(found.values())


def _read_label_terms(path: Path) -> dict[str, list[str]]:
    if not path.exists():
        return {}
    try:
        described = json.loads(path.read_bytes().decode("utf-8-sig"))
        terms = {_clean(label): about.get("synset_terms", []) for label, about in described.items()}
        if not all(isinstance(words, list) for words in terms.values()):
            raise ValueError("synset_terms must be lists")
    except (ValueError, AttributeError) as error:
        raise InputError(
            f'{path} must be a JSON object of label to {{"synset_terms": [...]}}, it is not ({error}): '
            "mend it or leave the file out."
        ) from error
    return {label: [str(word) for word in words] for label, words in terms.items()}


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
