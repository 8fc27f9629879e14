"""Reads (query, embedding) pairs from TFRecord shards of tf.train.Example."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import tensorflow as tf

from ctxvision.data.pictures import picture_decoder
from ctxvision.errors import InputError
from ctxvision.vocabulary._pair_streams import PairBatch, check_dim

# A `PhraseGenerator`, recognised by its `tower`, or a function from uint8 [b, S, S, 3] to [b, D].
Embed = Callable[..., Any]

RECORDS = 2048
PICTURES = 64

FEATURES = {
    "query": tf.io.RaggedFeature(tf.string),
    "embedding": tf.io.RaggedFeature(tf.float32),
    "image": tf.io.RaggedFeature(tf.string),
    "language": tf.io.RaggedFeature(tf.string),
}


def read_pairs(shards: Sequence[str | os.PathLike[str]], embed: Embed | None) -> Iterator[PairBatch]:
    """Yields batches of the pairs in TFRecord shards.

    Args:
        shards: file names or glob patterns, local or on a file system of TensorFlow.
        embed: computes embeddings of the records' pictures; None if the records hold embeddings.

    Raises:
        InputError: a file does not exist or is damaged, or a record lacks a needed feature; the message names the file.
    """
    for path in files(shards):
        for records in record_batches(path, PICTURES if embed else RECORDS):
            yield _pairs(records, path, embed)


def files(shards: Sequence[str | os.PathLike[str]], argument: str = "pairs") -> list[str]:
    """Lists all files; raises an InputError if a name or pattern matches none."""
    found = []
    for name in shards:
        shard = os.fspath(name)
        # The name of an existing file may contain characters of glob patterns.
        matching = [shard] if tf.io.gfile.exists(shard) else sorted(tf.io.gfile.glob(shard))
        if not matching:
            raise InputError(
                f"{argument} must name TFRecord shards that exist, got {shard!r}: check the path."
            )
        found += matching
    return found


def record_batches(path: str, size: int) -> Iterator[tf.Tensor]:
    """Yields batches of up to `size` serialized records, string [b], from a TFRecord file.

    Raises:
        InputError: the file is damaged or cannot be read.
    """
    iterator = iter(tf.data.TFRecordDataset(path).batch(size).prefetch(2))
    while True:
        try:
            records = next(iterator, None)
        except tf.errors.DataLossError:
            raise InputError(
                f"shard {path!r} must hold whole TFRecords, got damaged ones: write the shard again."
            ) from None
        except tf.errors.OpError as error:
            raise InputError(
                f"shard {path!r} must be readable, got {error.message}: check the file."
            ) from None
        if records is None:
            return
        yield records


def _pairs(records: tf.Tensor, path: str, embed: Embed | None) -> PairBatch:
    """Parses serialized tf.train.Examples, string [b], into pairs."""

    def refuse(got: str) -> InputError:
        value = "image (one encoded picture)" if embed else "embedding (floats, all of one length)"
        return InputError(
            f"records of shard {path!r} must be tf.train.Examples with features query (UTF-8, one or several), "
            f"{value} and optionally language (one for each query), got {got}: write them in this form."
        )

    try:
        parsed = tf.io.parse_example(records, FEATURES)
    except tf.errors.InvalidArgumentError as error:
        raise refuse(re.sub(r"^\{\{.*\}\} ", "", error.message.splitlines()[0])[:200]) from None
    counts, named = (parsed[name].row_lengths().numpy() for name in ("query", "language"))
    if not counts.all():
        raise refuse("a record without query")
    if ((named > 0) & (named != counts)).any():
        raise refuse("a record with different numbers of queries and languages")
    try:
        queries = [query.decode() for query in parsed["query"].flat_values.numpy()]
        codes = [code.decode() for code in parsed["language"].flat_values.numpy()]
    except UnicodeDecodeError as error:
        raise refuse(f"{error.object!r}") from None
    languages = np.full(len(queries), "", object)
    languages[np.repeat(named > 0, counts)] = codes

    firsts = [queries[i] for i in np.cumsum(counts) - counts]
    if embed:
        pictures = parsed["image"]
        if (pictures.row_lengths().numpy() != 1).any():
            raise refuse(
                "a record without image"
                if not pictures.row_lengths().numpy().all()
                else "a record with several images"
            )
        embeddings = _embedded(_pictures(pictures.flat_values.numpy(), firsts, path, embed), embed)
    else:
        sizes = parsed["embedding"].row_lengths().numpy()
        if not sizes.all():
            first = int(sizes.argmin())
            if parsed["image"].row_lengths()[first] > 0:
                raise InputError(
                    f"embed must be given if records hold pictures, like those of shard {path!r}, got None: give the "
                    f"phrase generator."
                )
            raise refuse("a record without embedding")
        other = int((sizes != sizes[0]).argmax())
        check_dim(int(sizes[0]), int(sizes[other]), firsts[other])
        embeddings = parsed["embedding"].flat_values.numpy().reshape(len(sizes), -1)
    return PairBatch(queries, np.repeat(embeddings, counts, axis=0), languages.tolist() if codes else None)


def _pictures(encoded: np.ndarray, queries: Sequence[str], path: str, embed: Embed) -> np.ndarray:
    """Decodes to uint8 [B, S, S, 3], at the input size of a phrase generator, or at the pictures' own size."""
    decode = picture_decoder(_tower(embed).input_shape[1] if _tower(embed) else None)
    pictures = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        futures = [pool.submit(decode, image) for image in encoded]
        for query, future in zip(queries, futures):
            try:
                pictures.append(future.result().numpy())
            except tf.errors.InvalidArgumentError:
                raise InputError(
                    f"pictures must be JPEG, PNG, GIF or BMP, got one that does not decode for query {query!r} in shard "
                    f"{path!r}: leave it out."
                ) from None
            if pictures[-1].shape != pictures[0].shape:
                raise InputError(
                    f"pictures must have one size unless embed is a PhraseGenerator, got {pictures[0].shape[:2]} and "
                    f"{pictures[-1].shape[:2]} in shard {path!r}: resize them."
                )
    return np.stack(pictures)


def _embedded(pictures: np.ndarray, embed: Embed) -> np.ndarray:
    arguments: dict[str, Any] = {"training": False} if _tower(embed) else {}
    embeddings = np.asarray(embed(pictures, **arguments))
    if embeddings.ndim != 2 or len(embeddings) != len(pictures):
        raise InputError(
            f"embed must return one embedding for each of {len(pictures)} pictures, got shape {list(embeddings.shape)}: "
            f"return an array [b, D]."
        )
    return embeddings


def _tower(embed: Embed) -> Any:
    """Returns the ConvNet of a phrase generator, None for another function."""
    return getattr(embed, "tower", None)
