"""Computes the sums of build_prototypes on Apache Beam, for logs that are too long for one machine.

    python tools/beam_prototypes.py --pairs 'gs://bucket/pairs-*' --rows gs://bucket/rows --runner DataflowRunner ...
    python tools/beam_prototypes.py --rows gs://bucket/rows --table table

The first command sums the embeddings of each query in TFRecord shards of tf.train.Example (features `query`,
`embedding` and optionally `language`, see build_prototypes). It writes the sums as shards `ROWS-*-of-*.tfrecord` with
the features `query`, `language` ("" if none is named) and `sums` (D + 1 little-endian int64: the fixed-point sums, and
the number of embeddings). The second command makes a phrase table from these shards on one machine, with
the n-grams of each query. With --pairs and --table, both steps run. The table equals that of build_prototypes to the last bit.

All other arguments go to Beam. Workers need ctxvision, apache-beam and google-crc32c.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator

import apache_beam as beam
import numpy as np
import tensorflow as tf
from apache_beam.io import WriteToTFRecord
from apache_beam.options.pipeline_options import PipelineOptions

from ctxvision.context.text import hash_ngrams
from ctxvision.errors import InputError
from ctxvision.vocabulary import PhraseTable
from ctxvision.vocabulary._fixed_point import rows_of
from ctxvision.vocabulary._memory import byte_size
from ctxvision.vocabulary._pair_records import files, read_pairs, record_batches
from ctxvision.vocabulary._partial_sums import QuerySums, normalised
from ctxvision.vocabulary.builder import table_of_sums

RECORDS = 2048
SUFFIX = ".tfrecord"

Key = tuple[str, str]


class AddRows(beam.CombineFn):
    """Adds rows of sums, int64 [D + 1]."""

    def create_accumulator(self) -> np.ndarray | None:
        return None

    def add_input(self, total: np.ndarray | None, row: np.ndarray) -> np.ndarray:
        return np.array(row) if total is None else np.add(total, row, out=total)

    def merge_accumulators(self, totals: Iterable[np.ndarray | None]) -> np.ndarray | None:
        merged = None
        for total in totals:
            if total is not None:
                merged = self.add_input(merged, total)
        return merged

    def extract_output(self, total: np.ndarray | None) -> np.ndarray | None:
        return total


def keyed_rows(path: str) -> Iterator[tuple[Key, np.ndarray]]:
    """Yields ((query, language), int64 [D + 1]) of each pair in a shard."""
    for queries, embeddings, languages in read_pairs([path], embed=None):
        names = map(normalised, queries)
        yield from zip(zip(names, languages or [""] * len(queries)), rows_of(queries, embeddings))


def record_of(keyed: tuple[Key, np.ndarray]) -> bytes:
    """Serializes a row of sums as a tf.train.Example."""
    (query, language), row = keyed
    values = {"query": query.encode(), "language": language.encode(), "sums": row.astype("<i8").tobytes()}
    features = {k: tf.train.Feature(bytes_list=tf.train.BytesList(value=[v])) for k, v in values.items()}
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def add_up(pairs: str, rows: str, options: PipelineOptions) -> None:
    """Runs the pipeline that sums embeddings by query and language."""
    with beam.Pipeline(options=options) as pipeline:
        (
            pipeline
            | beam.Create(files([pairs]))
            | beam.Reshuffle()
            | beam.FlatMap(keyed_rows)
            | beam.CombinePerKey(AddRows())
            | beam.Map(record_of)
            | WriteToTFRecord(rows, file_name_suffix=SUFFIX)
        )


def collect(rows: str, table: str, memory: str = "2GB") -> PhraseTable:
    """Makes a phrase table from shards of rows, in bounded memory."""
    return table_of_sums(_read_rows(_shards(rows)), table, byte_size(memory), ngrams=hash_ngrams)


def _shards(rows: str) -> list[str]:
    """Lists the shards of a run; raises an InputError if some are missing or belong to another run."""
    found = files([f"{rows}-?????-of-?????{SUFFIX}"], "rows")
    counts = {int(path.removesuffix(SUFFIX).rpartition("-")[2]) for path in found}
    if counts != {len(found)}:
        raise InputError(
            f"rows must name the shards of one run, got {found}: give all shards of one run and no others."
        )
    return found


def _read_rows(shards: Iterable[str]) -> Iterator[QuerySums]:
    features = {name: tf.io.FixedLenFeature([], tf.string) for name in ("query", "language", "sums")}
    for path in shards:
        for records in record_batches(path, RECORDS):
            try:
                parsed = tf.io.parse_example(records, features)
                sums = tf.io.decode_raw(parsed["sums"], tf.int64).numpy()
            except tf.errors.InvalidArgumentError as error:
                raise InputError(
                    f"shard {path!r} must hold rows of this pipeline, got {error.message}: run the pipeline again."
                ) from None
            queries, languages = (
                [text.decode() for text in parsed[name].numpy()] for name in ("query", "language")
            )
            yield QuerySums(queries, languages, sums)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", help="file name or glob pattern of the shards of pairs")
    parser.add_argument("--rows", required=True, help="path of the shards of rows, without -00000-of-...")
    parser.add_argument("--table", help="folder of the phrase table to write")
    parser.add_argument("--memory", default="2GB", help="memory of this process while it writes the table")
    given, others = parser.parse_known_args(arguments)
    try:
        if given.pairs:
            add_up(given.pairs, given.rows, PipelineOptions(others))
        if given.table:
            print(f"{len(collect(given.rows, given.table, given.memory)):,} phrases in {given.table}")
    except InputError as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
