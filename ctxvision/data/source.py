"""Loads data of any supported layout by one name."""

import dataclasses
import functools
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ctxvision._limits import MOST_PHRASE_BYTES
from ctxvision.data.captions import read_captions
from ctxvision.data.folders import LeftOut
from ctxvision.data.image_folder import read_image_folder
from ctxvision.data.imagenet import read_imagenet
from ctxvision.data.images_csv import clean
from ctxvision.data.label_names import with_merged_labels
from ctxvision.data.manifest import Manifest
from ctxvision.data.open_images import read_open_images
from ctxvision.data.records import read_records
from ctxvision.data.split import Query, Split
from ctxvision.data.tfds import read_tfds
from ctxvision.data.webvision import read_webvision
from ctxvision.errors import InputError

Source = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


def load_data(source: Source, label_column: str = "label", merge_labels: bool = False) -> Manifest:
    """Reads splits, labels and queries of a data set in its released layout; decodes no picture.

    | source | layout |
    |---|---|
    | `DIR` | a folder with an `images.csv`, see `Manifest` |
    | `folder:DIR` | `DIR/split/label/picture`, see `read_image_folder` |
    | `imagenet:DIR` | ImageNet's synset folders, see `read_imagenet` |
    | `webvision:DIR` | WebVision 1.0, see `read_webvision` |
    | `open-images:DIR` | Open Images v4 to v7, see `read_open_images` |
    | `captions:DIR` | parquet files of captions and pictures, see `read_captions` |
    | `tfds:NAME` | a data set of TensorFlow Datasets, see `read_tfds` |
    | `records:GLOB` | TFRecords as `tools/write_tfrecords.py` writes them, local or `gs://`, see `read_records` |

    Several sources are read together, for example captions for the split `web` and labelled pictures for the others.
    Without a split `web`, the pictures of `train` take its place with their queries. If `train` has no queries either,
    the words of its labels become queries and `Manifest.words_for_queries` is True. Queries that exceed the longest
    phrase of a `PhraseTable` are left out and counted.

    Args:
        source: one of these, or several.
        label_column: the label column of `images.csv`, or the label feature of `tfds:`. Other layouts need "label".
        merge_labels: whether to merge labels that look alike, see `with_merged_labels`.

    Raises:
        InputError: something is missing or wrong; the message names it and the remedy.

    Example:
        >>> manifest = cv.load_data("photos")
        >>> len(manifest.split("train"))
        48
    """
    names = source_names(source)
    found = [_load(name, label_column) for name in names]
    manifest = _without_long_queries(found[0] if len(found) == 1 else _united(names, found))
    return _with_web(with_merged_labels(manifest) if merge_labels else manifest)


def source_names(source: Source) -> list[str]:
    """Returns one or several sources as a list of strings."""
    several = [source] if isinstance(source, (str, os.PathLike)) else list(source)
    if not several:
        raise InputError("data must name at least one source, got none: give a folder with an images.csv.")
    return [os.fspath(one) for one in several]


def absolute(source: str) -> str:
    """Makes the folder of a source absolute, if it has one."""
    kind, colon, place = source.partition(":")
    if not colon or kind not in _LOADERS:
        return os.path.abspath(source)
    return source if kind == "tfds" or "://" in place else f"{kind}:{os.path.abspath(place)}"


def is_folder(names: list[str]) -> bool:
    """Tells whether the names are a single folder with an `images.csv`."""
    return len(names) == 1 and names[0].partition(":")[0] not in _LOADERS


def _load(source: str, label_column: str) -> Manifest:
    kind, _, place = source.partition(":")
    try:
        absolute(source).encode()
    except UnicodeEncodeError:
        raise InputError(
            f"data must have a path in UTF-8, got {ascii(absolute(source))}: rename the folder."
        ) from None
    if kind not in _LOADERS:
        if place and not os.path.isdir(source):
            raise InputError(
                f"data must be a folder or start with one of {', '.join(f'{name}:' for name in _LOADERS)}, got "
                f"{source!r}: check the name."
            )
        return Manifest.load(source, label_column)
    if not place:
        raise InputError(f"data must name what {kind}: reads, got {source!r}: write a name behind the colon.")
    return _LOADERS[kind](place, label_column)


def _united(names: list[str], found: list[Manifest]) -> Manifest:
    """Joins manifests: all rows by split, and all other words of each label."""
    by_split: dict[str, list[Split]] = {}
    terms: dict[str, list[str]] = {}
    for manifest in found:
        for name, split in manifest.by_split.items():
            by_split.setdefault(name, []).append(split)
        for label, words in manifest.label_terms.items():
            terms[label] = list(dict.fromkeys([*terms.get(label, []), *words]))
    left_out: LeftOut = sum((one.left_out for one in found), Counter())
    splits = {name: splits[0] if len(splits) == 1 else _joined(splits) for name, splits in by_split.items()}
    return Manifest(os.sep, found[0].label_column, splits, terms, " + ".join(names), left_out)


def _joined(splits: list[Split]) -> Split:
    ends = np.cumsum([len(split) for split in splits])

    def read(rows: np.ndarray) -> Iterator[tuple[int, bytes | None]]:
        for split, end in zip(splits, ends):
            start = end - len(split)
            for row, encoded in split.encoded(rows[(rows >= start) & (rows < end)] - start):
                yield row + int(start), encoded

    verified = any(split.absent is not None for split in splits)
    return Split(
        splits[0].name,
        [path for split in splits for path in split.paths],
        [labels for split in splits for labels in split.labels],
        [queries for split in splits for queries in split.queries],
        [absent for split in splits for absent in _absent(split)] if verified else None,
        read if any(split.stored is not None for split in splits) else None,
    )


def _absent(split: Split) -> list[tuple[str, ...]]:
    """Lists the absent labels of each picture; without `split.absent`, all other labels of the split are absent."""
    if split.absent is not None:
        return split.absent
    known = dict.fromkeys(label for labels in split.labels for label in labels)
    return [tuple(label for label in known if label not in labels) for labels in split.labels]


def _without_long_queries(manifest: Manifest) -> Manifest:
    """Leaves out queries that are too long for a phrase table, and counts them in `left_out`."""
    splits, left_out = dict(manifest.by_split), Counter(manifest.left_out)
    for name, split in splits.items():
        known = {query for queries in split.queries for query in queries}
        long = {query for query in known if len(query.text.encode()) > MOST_PHRASE_BYTES}
        if long:
            kept = [tuple(query for query in queries if query not in long) for queries in split.queries]
            splits[name] = dataclasses.replace(split, queries=kept)
            reason = f"queries of more than {MOST_PHRASE_BYTES:,} bytes"
            left_out[reason] += sum(map(len, split.queries)) - sum(map(len, kept))
    return dataclasses.replace(manifest, by_split=splits, left_out=left_out)


def _with_web(manifest: Manifest) -> Manifest:
    """Adds a split `web` made from the pictures of `train`, if there is none."""
    if "web" in manifest.by_split or "train" not in manifest.by_split:
        return manifest
    train = manifest.split("train")
    queries = train.queries
    if not any(queries):
        words = functools.cache(lambda label: _words(label, manifest.label_terms.get(label, [])))
        queries = [
            tuple(dict.fromkeys(query for label in labels for query in words(label)))
            for labels in train.labels
        ]
    web = dataclasses.replace(train, name="web", queries=queries, absent=None)
    from_labels = queries is not train.queries
    return dataclasses.replace(
        manifest, by_split={"web": web, **manifest.by_split}, words_for_queries=from_labels
    )


def _words(label: str, terms: Sequence[str]) -> tuple[Query, ...]:
    """Makes queries from a label's terms; without several terms, also from the single words of its name."""
    told = terms if len(terms) > 1 else [label, *terms, *label.split()]
    found = dict.fromkeys(clean(word.lower()) for word in told)
    return tuple(Query(text, "en") for text in found if 0 < len(text.encode()) <= MOST_PHRASE_BYTES)


_LOADERS: dict[str, Callable[[str, str], Manifest]] = {
    "folder": read_image_folder,
    "imagenet": read_imagenet,
    "webvision": read_webvision,
    "open-images": read_open_images,
    "captions": read_captions,
    "tfds": read_tfds,
    "records": read_records,
}
