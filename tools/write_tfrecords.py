"""Writes a data set as TFRecord shards, for `records:` sources and the input pipelines of TPUs.

    python tools/write_tfrecords.py SOURCE... OUT [--label-column NAME] [--shard-megabytes 128] [--workers N]

SOURCE is any data that `ctxvision train` takes; OUT is a folder, local or gs://. Encoded pictures are copied without
decoding. Shards are named by split, `train-00003-of-00016.tfrecord`. Pictures that are files are spread over the shards
of their split at random. Pictures that lie inside other files keep their order, so that those files are not read again
for every shard.

`OUT/records.json` holds the schema, and the number of records, bytes and SHA-256 of each shard. A shard has a temporary
name until it is complete. After a kill, the same command writes the missing shards, with the same content as an
uninterrupted run.
"""

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

import ctxvision as cv
from ctxvision._files import file_name
from ctxvision.data import Manifest, Split
from ctxvision.data.record_frames import frame
from ctxvision.data.records import FACTS, FEATURES, unreachable
from ctxvision.errors import InputError

SEED = 0
_BLOCK = 4 << 20
_SAMPLE = 256  # pictures whose mean size determines the number of shards


class Shard(NamedTuple):
    """A shard to write: its file name, and the rows of its split."""

    name: str
    split: str
    rows: np.ndarray


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the tool; returns 0, or 2 after printing one sentence for bad input."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("source", nargs="+", help="data as for ctxvision train")
    parser.add_argument("out", help="folder of the shards, local or gs://")
    parser.add_argument("--label-column", default="label")
    parser.add_argument(
        "--shard-megabytes", type=float, default=128.0, help="approximate size (default: %(default)s)"
    )
    parser.add_argument("--workers", type=int, default=2 * (os.cpu_count() or 1))
    chosen = parser.parse_args(arguments)
    try:
        write_tfrecords(
            chosen.source, chosen.out, chosen.label_column, chosen.shard_megabytes, chosen.workers
        )
    except InputError as error:
        print(f"write_tfrecords: {error}", file=sys.stderr)
        return 2
    return 0


def write_tfrecords(
    source: Sequence[str],
    out: str,
    label_column: str = "label",
    shard_megabytes: float = 128.0,
    workers: int = 4,
) -> dict[str, Any]:
    """Writes a data set as TFRecord shards, see the module's docstring.

    Returns:
        The contents of `records.json`.

    Raises:
        InputError: the data is bad, a number is not above 0, a picture cannot be read, or `out` holds other records.
    """
    if not shard_megabytes > 0 or workers < 1:
        raise InputError(
            f"shard_megabytes and workers must be above 0, got {shard_megabytes} and {workers}: correct them."
        )
    manifest = cv.load_data(source, label_column)
    shards = _shards(manifest, shard_megabytes * 1e6)
    plan = {
        "schema": {name: "bytes_list" for name in sorted(FEATURES)},
        "plan": hashlib.sha256(repr([(s.name, s.rows.tolist()) for s in shards]).encode()).hexdigest(),
        "rows": _digest(manifest),
    }
    out = out.rstrip("/")
    try:
        done = _begun(out, plan)
        todo = [shard for shard in shards if shard.name not in done]
        with ThreadPoolExecutor(workers) as pool:
            jobs = [pool.submit(_write, manifest.split(shard.split), shard, out) for shard in todo]
            try:
                for number, (shard, job) in enumerate(zip(todo, jobs), 1):
                    done[shard.name] = job.result()
                    print(f"{number + len(shards) - len(todo)} of {len(shards)} shards", file=sys.stderr)
            finally:
                pool.shutdown(cancel_futures=True)
    except (tf.errors.OpError, OSError) as error:
        raise unreachable(out, error) from None
    facts = {"complete": True, **plan, "shards": {shard.name: done[shard.name] for shard in shards}}
    _write_facts(out, facts)
    for shard in todo:
        tf.io.gfile.remove(f"{out}/.{shard.name}.json")
    return facts


def _shards(manifest: Manifest, size: float) -> list[Shard]:
    shards = []
    for name, split in manifest.by_split.items():
        number = max(1, min(len(split), round(len(split) * _mean_bytes(split) / size)))
        order = np.arange(len(split))
        if split.stored is None:
            order = np.random.default_rng(SEED).permutation(len(split))
        for i, rows in enumerate(np.array_split(order, number)):
            file = f"{file_name(name)}-{i:05d}-of-{number:05d}.tfrecord"
            shards.append(Shard(file, name, rows))
    return shards


def _mean_bytes(split: Split) -> float:
    rows = np.linspace(0, len(split) - 1, min(_SAMPLE, len(split))).astype(int)
    if split.stored is not None:
        rows = np.arange(
            len(rows)
        )  # takes the first pictures; others would require reading through the source
    sizes = [len(encoded) for _, encoded in split.encoded(np.unique(rows)) if encoded is not None]
    return float(np.mean(sizes)) if sizes else 1.0


def _write(split: Split, shard: Shard, out: str) -> dict[str, Any]:
    """Writes one shard under a temporary name, renames it, and returns its number of records, bytes and SHA-256."""
    path, temporary = f"{out}/{shard.name}", f"{out}/.{shard.name}.unfinished"
    digest, written, number = hashlib.sha256(), 0, 0
    with open_for_writing(temporary) as file:
        for block in _blocks(_records(split, shard)):
            digest.update(content := b"".join(block))
            file.write(content)
            written += len(content)
            number += len(block)
    told = {"records": number, "bytes": written, "sha256": digest.hexdigest()}
    # Written before the rename, so that every shard with its final name has its facts beside it.
    with open_for_writing(f"{out}/.{shard.name}.json") as file:
        file.write(json.dumps(told).encode())
    tf.io.gfile.rename(temporary, path, overwrite=True)
    return told


def _blocks(frames: Iterator[bytes]) -> Iterator[list[bytes]]:
    block: list[bytes] = []
    size = 0
    for one in frames:
        block.append(one)
        size += len(one)
        if size >= _BLOCK:
            yield block
            block, size = [], 0
    yield block


def _records(split: Split, shard: Shard) -> Iterator[bytes]:
    rows = shard.rows
    taken = split.take(rows)
    for place, encoded in taken.encoded():
        if encoded is None:
            raise InputError(
                f"every picture must be readable, got {split.paths[rows[place]]!r}, which is not: leave its row out; "
                "ctxvision data check lists all unreadable pictures."
            )
        yield frame(example(taken, place, encoded).SerializeToString(deterministic=True))


def example(split: Split, row: int, encoded: bytes) -> tf.train.Example:
    """Converts a row to a tf.train.Example, see `ctxvision.data.records.read_records`."""
    values = {
        "image": [encoded],
        "split": [split.name.encode()],
        "name": [os.path.basename(split.paths[row]).encode()],
        "label": [label.encode() for label in split.labels[row]],
        "absent": [label.encode() for label in split.absent[row]] if split.absent else [],
        "query": [query.text.encode() for query in split.queries[row]],
        "language": [query.language.encode() for query in split.queries[row]],
    }
    lists = {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=value)) for name, value in values.items()
    }
    return tf.train.Example(features=tf.train.Features(feature=lists))


def _begun(out: str, plan: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns the shards that an interrupted run of the same plan has finished."""
    tf.io.gfile.makedirs(out)
    if tf.io.gfile.exists(f"{out}/{FACTS}"):
        with tf.io.gfile.GFile(f"{out}/{FACTS}", "r") as file:
            before = json.loads(file.read())
        if any(before.get(key) != value for key, value in plan.items()):
            raise InputError(
                f"out must be a new folder, or hold the same records unfinished, got {out!r} with other records: "
                "choose another folder, or delete this one."
            )
        if before["complete"]:
            return before["shards"]
    else:
        _write_facts(out, {"complete": False, **plan, "shards": {}})
    done = {}
    for path in tf.io.gfile.glob(f"{out}/*.tfrecord"):
        name = os.path.basename(path)
        with tf.io.gfile.GFile(f"{out}/.{name}.json", "r") as file:
            done[name] = json.loads(file.read())
    return done


def _write_facts(out: str, facts: dict[str, Any]) -> None:
    with open_for_writing(f"{out}/.{FACTS}") as file:
        file.write(json.dumps(facts, indent=1).encode())
    tf.io.gfile.rename(f"{out}/.{FACTS}", f"{out}/{FACTS}", overwrite=True)


def open_for_writing(path: str) -> Any:
    """Opens a local or remote file for writing bytes."""
    return tf.io.gfile.GFile(path, "wb") if "://" in path else open(path, "wb", buffering=0)


def _digest(manifest: Manifest) -> str:
    digest = hashlib.sha256()
    for name, split in manifest.by_split.items():
        for row in zip(split.paths, split.labels, split.queries):
            digest.update(repr((name, *row)).encode())
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
