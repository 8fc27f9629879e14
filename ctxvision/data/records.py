"""TFRecords of pictures with labels and queries, as `tools/write_tfrecords.py` writes them."""

import functools
import json
import os
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ctxvision.data.image_folder import require_label_column
from ctxvision.data.images_csv import is_split
from ctxvision.data.manifest import Manifest
from ctxvision.data.record_frames import read_frames
from ctxvision.data.split import Query, Split, few, too_many
from ctxvision.errors import InputError

# Features of a record, a tf.train.Example. All are lists of bytes; texts are UTF-8.
NEEDED = ("image", "split")
FEATURES = (*NEEDED, "name", "label", "absent", "query", "language")
FACTS = "records.json"


def read_records(pattern: str, label_column: str = "label") -> Manifest:
    """Reads the labels and queries of TFRecord shards, local or `gs://`; pictures are read later, when needed.

    A record is a tf.train.Example. `image` (an encoded picture) and `split` have one value. Optional features:

    - `label`: any number of labels.
    - `absent`: labels that somebody looked for and did not find. If any record has some, labels in neither list are
      unknown.
    - `query`: any number of queries; `language`: none, or one per query.
    - `name`: the name of the picture.

    All shards have the same features. If `records.json` lies beside the shards, the number of records must equal the
    number there.

    Args:
        pattern: glob of the shards: `records/*.tfrecord`, `gs://bucket/train-*`.
        label_column: must be "label".

    Raises:
        InputError: no shard matches or one cannot be read, shards differ in schema, a record lacks a needed feature, or
            more than 1% of the records are damaged. Fewer damaged records are left out with a warning.
    """
    require_label_column("records:", label_column)
    shards = record_files(pattern)
    expected = _facts(os.path.dirname(shards[0]))
    rows = _Rows()
    damaged, total = [], 0
    schema: tuple[str, dict[str, str]] | None = None
    for number, shard in enumerate(shards):
        first = True
        here = 0
        for record, content in enumerate(_frames(shard)):
            here += 1
            if content is None:
                damaged.append(f"{shard} record {record}")
                continue
            features = _features(content, shard, record)
            if first:
                first, schema = False, _same_schema(schema, shard, features)
            rows.add(number, record, features, shard)
        wanted = expected.get(os.path.basename(shard), here)
        if here != wanted:
            raise InputError(
                f"shard {shard!r} must hold {wanted} records according to {FACTS}, got {here}: write or copy both "
                "again."
            )
        total += here
    if damaged:
        found = f"{len(damaged)} of {total} records of {pattern!r} are damaged"
        if too_many(len(damaged), total):
            raise InputError(f"{found}, at most 1% may be: write these records again ({few(damaged)}).")
        warnings.warn(f"{found} and are left out: {few(damaged)}.", stacklevel=3)
    return Manifest(os.path.dirname(shards[0]), label_column, rows.splits(shards), {}, f"records:{pattern}")


def record_files(pattern: str) -> list[str]:
    """Lists the shards that match a glob pattern, sorted.

    Raises:
        InputError: no shard matches, or the file system cannot be reached.
    """
    try:
        found = sorted(tf.io.gfile.glob(pattern))
    except (tf.errors.OpError, OSError) as error:
        raise unreachable(pattern, error) from None
    if not found:
        raise InputError(
            f"records: must name TFRecord files, got {pattern!r}, which matches none: check the pattern."
        )
    return [path if "://" in path else os.path.abspath(path) for path in found]


def unreachable(place: str, error: Exception) -> InputError:
    """Makes the error for files that TensorFlow cannot read, in one sentence."""
    reason = " ".join(str(getattr(error, "message", None) or error).split())
    remedy = (
        "log in with `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS"
        if place.startswith("gs://")
        else "check the path"
    )
    return InputError(f"{place!r} must be readable, got an error ({reason[:160].rstrip('. ')}): {remedy}.")


class _Rows:
    """Collects rows by split, with the place of each record."""

    def __init__(self) -> None:
        self._splits: dict[str, Split] = {}
        self._places: dict[str, list[tuple[int, int]]] = {}
        self._verified: set[str] = set()
        self._labels = functools.cache(lambda encoded: tuple(dict.fromkeys(map(bytes.decode, encoded))))
        self._query = functools.cache(lambda text, language: Query(text.decode(), language.decode() or "en"))

    def add(self, shard: int, record: int, features: Any, path: str) -> None:
        value: dict[str, Any] = {
            name: features[name].bytes_list.value if name in features else () for name in FEATURES
        }
        texts, languages = value["query"], value["language"] or [b""] * len(value["query"])
        name = value["split"][0].decode()
        if not is_split(name) or len(texts) != len(languages):
            raise InputError(
                f"record {record} of {path!r} must have a known split and one language per query, got split {name!r}, "
                f"{len(texts)} queries and {len(languages)} languages: write the record again."
            )
        split = self._splits.setdefault(name, Split(name, [], [], [], []))
        split.paths.append(value["name"][0].decode() if value["name"] else f"{path}#{record}")
        split.labels.append(self._labels(tuple(value["label"])))
        split.queries.append(tuple(dict.fromkeys(map(self._query, texts, languages))))
        assert split.absent is not None
        split.absent.append(self._labels(tuple(value["absent"])))
        self._places.setdefault(name, []).append((shard, record))

    def splits(self, shards: Sequence[str]) -> dict[str, Split]:
        verified = any(any(split.absent or ()) for split in self._splits.values())
        return {
            name: Split(
                name,
                split.paths,
                split.labels,
                split.queries,
                split.absent if verified else None,
                _stored(shards, np.array(self._places[name], np.int64)),
            )
            for name, split in self._splits.items()
        }


def _stored(shards: Sequence[str], places: np.ndarray) -> Any:
    def read(rows: np.ndarray) -> Iterator[tuple[int, bytes | None]]:
        for shard in np.unique(places[rows, 0]).tolist():
            here = rows[places[rows, 0] == shard]
            by_record = dict(zip(places[here, 1].tolist(), here.tolist()))
            last = max(by_record)
            for record, content in enumerate(_frames(shards[shard])):
                if record in by_record and content is not None:
                    image = tf.train.Example.FromString(content).features.feature["image"]
                    yield by_record[record], image.bytes_list.value[0]
                if record == last:
                    break

    return read


def _frames(shard: str) -> Iterator[bytes | None]:
    try:
        yield from read_frames(shard)
    except (tf.errors.OpError, OSError) as error:
        raise unreachable(shard, error) from None


def _features(content: bytes, shard: str, record: int) -> Any:
    try:
        features = tf.train.Example.FromString(content).features.feature
    except Exception:  # protobuf's DecodeError; its module differs between versions
        raise InputError(
            f"record {record} of {shard!r} must be a tf.train.Example, got other bytes: write the shard again."
        ) from None
    for name in NEEDED:
        if name not in features or len(features[name].bytes_list.value) != 1:
            there = ", ".join(sorted(features)) or "none"
            raise InputError(
                f"record {record} of {shard!r} must have the feature {name!r} with one value, got the features "
                f"{there}: write the shard with tools/write_tfrecords.py."
            )
    return features


def _same_schema(
    schema: tuple[str, dict[str, str]] | None, shard: str, features: Any
) -> tuple[str, dict[str, str]]:
    here = {name: features[name].WhichOneof("kind") or "bytes_list" for name in sorted(features)}
    if schema is None:
        return shard, here
    if here != schema[1]:
        differ = sorted(here.items() ^ schema[1].items())[0][0]
        raise InputError(
            f"shards must have one schema, got {shard!r} and {schema[0]!r}, which differ in feature {differ!r}: "
            "write both again, or select shards of one schema."
        )
    return schema


def _facts(folder: str) -> dict[str, int]:
    """Maps shard to its number of records, from `records.json`; empty if that file does not exist."""
    path = f"{folder}/{FACTS}"
    if not tf.io.gfile.exists(path):
        return {}
    with tf.io.gfile.GFile(path, "r") as file:
        facts = json.loads(file.read())
    if not facts["complete"]:
        raise InputError(
            f"{path!r} must describe finished shards, got complete = false: run tools/write_tfrecords.py again."
        )
    return {name: shard["records"] for name, shard in facts["shards"].items()}
