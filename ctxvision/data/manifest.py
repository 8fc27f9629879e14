"""The manifest of a data set: its pictures, with splits, labels and queries."""

import json
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from ctxvision.data.folders import LeftOut
from ctxvision.data.images_csv import clean, read_images_csv
from ctxvision.data.split import Split
from ctxvision.errors import InputError


@dataclass(frozen=True)
class Manifest:
    """The pictures of a data set, for example of a folder with `images.csv` and an optional `labels.json`.

    Columns of `images.csv` (UTF-8, comma-separated, fields quoted where needed):

    - `image`: path of the picture, relative to the folder and inside it.
    - `split`: `web` (pictures with queries, from which phrases are learnt), `pretrain` (labelled pictures for the
      visual encoder; default: those of `train`), `train`, `val` (default: a part of `train`), and `test` or several
      `test:NAME`, which are reported by NAME.
    - `label`: the picture's label, or several separated by `|`; may be empty. `label_column` names another column, or
      several whose labels are united (`label|coarse_label`).
    - `queries` (optional): what people typed to find the picture, several separated by `|`.
    - `languages` (optional): the language of each query, `|`-separated and aligned with `queries`; empty means English
      ("en").

    Queries are lower-cased and NFC-normalised, and their whitespace is collapsed. Empty queries and repetitions within
    a picture are dropped. `labels.json` (optional) maps a label to an object whose `synset_terms` lists other words for
    the label.

    Attributes:
        root: the folder, absolute.
        label_column: the column of the labels, or several separated by `|`.
        by_split: the splits by name, in the order of the file.
        label_terms: maps a label to its other words; empty without `labels.json`.
        source: the name of the data in messages.
        left_out: counts the entries of folders and the queries that were left out, by reason.
        words_for_queries: True if the data has no queries and those of `web` are the words of the labels.

    Example:
        >>> manifest = cv.Manifest.load("photos")
        >>> manifest.splits
        ['web', 'train', 'test:easy', 'test:hard']
        >>> manifest.split("train").labels[0]
        ('red label',)
    """

    root: str
    label_column: str
    by_split: dict[str, Split]
    label_terms: dict[str, list[str]]
    source: str = "images.csv"
    left_out: LeftOut = field(default_factory=Counter)
    words_for_queries: bool = False

    @classmethod
    def load(cls, folder: str | os.PathLike[str], label_column: str = "label") -> "Manifest":
        """Reads `images.csv` and `labels.json` of a folder; opens no picture.

        Args:
            folder: the data folder.
            label_column: the column of the labels, or several separated by `|`, whose labels are united.

        Raises:
            InputError: something is missing or wrong; the message names file, line, value and remedy.
        """
        root = os.path.abspath(folder)
        if not os.path.isdir(root):
            raise InputError(
                f"data must name a folder with an images.csv, got {root}, which is not a folder: check the path."
            )
        return cls(
            root,
            label_column,
            read_images_csv(root, label_column),
            read_label_terms(Path(root, "labels.json")),
        )

    @property
    def splits(self) -> list[str]:
        """The names of the splits that have rows, in the order of the file."""
        return list(self.by_split)

    def split(self, name: str) -> Split:
        """Returns the split of that name; a split without rows if the data has none."""
        return self.by_split.get(name) or Split(name, [], [], [])

    def require_split(self, name: str) -> Split:
        """Returns the split of that name; raises an InputError if the data has no row of it."""
        if name not in self.by_split:
            raise InputError(
                f"{self.source} must have rows with split {name!r}, got {', '.join(self.splits)}: "
                f"add rows of that split in {self.root}."
            )
        return self.by_split[name]


def read_label_terms(path: Path) -> dict[str, list[str]]:
    """Maps label to its other words, from a `labels.json`; empty if the file does not exist."""
    if not path.exists():
        return {}
    try:
        described = json.loads(path.read_bytes().decode("utf-8-sig"))
        terms = {clean(label): about.get("synset_terms", []) for label, about in described.items()}
        if not all(isinstance(words, list) for words in terms.values()):
            raise ValueError("synset_terms must be lists")
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(
            f'{path} must be a JSON object of label to {{"synset_terms": [...]}}, got something else ({error}): '
            "correct it or remove the file."
        ) from error
    return {label: [str(word) for word in words] for label, words in terms.items()}
