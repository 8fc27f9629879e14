"""The manifest of a data folder: which pictures there are, in which split, with which labels and queries."""

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
        source: what sentences about the data call it.
        left_out: what in its folders and among its queries was left out, reason to number.
        words_for_queries: whether the queries of `web` are the words of the labels, as the data has none.

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
    source: str = "images.csv"
    left_out: LeftOut = field(default_factory=Counter)
    words_for_queries: bool = False

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
        return cls(
            root,
            label_column,
            read_images_csv(root, label_column),
            read_label_terms(Path(root, "labels.json")),
        )

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
                f"{self.source} needs rows with split {name!r}, it has {', '.join(self.splits)}: "
                f"add rows of that split in {self.root}."
            )
        return self.by_split[name]


def read_label_terms(path: Path) -> dict[str, list[str]]:
    """Label to its other words, of a `labels.json`; nothing where there is none."""
    if not path.exists():
        return {}
    try:
        described = json.loads(path.read_bytes().decode("utf-8-sig"))
        terms = {clean(label): about.get("synset_terms", []) for label, about in described.items()}
        if not all(isinstance(words, list) for words in terms.values()):
            raise ValueError("synset_terms must be lists")
    except (ValueError, AttributeError) as error:
        raise InputError(
            f'{path} must be a JSON object of label to {{"synset_terms": [...]}}, it is not ({error}): '
            "mend it or leave the file out."
        ) from error
    return {label: [str(word) for word in words] for label, words in terms.items()}
