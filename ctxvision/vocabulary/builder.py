"""Computes prototypes, the mean embedding of each query's pictures (Eq. 2), in bounded memory."""

import glob
import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ctxvision.errors import InputError
from ctxvision.vocabulary._fixed_point import STEP_VALUES, prototypes_of, rows_of
from ctxvision.vocabulary._memory import GIGABYTE, byte_size, resident, room
from ctxvision.vocabulary._pair_streams import PairBatch, check_dim, pair_batches
from ctxvision.vocabulary._partial_sums import PartialSums, QuerySums
from ctxvision.vocabulary.ngrams import Ngrams
from ctxvision.vocabulary.phrase_table import PhraseTable
from ctxvision.vocabulary.phrase_table_writer import PhraseTableWriter

if TYPE_CHECKING:
    from ctxvision.vocabulary._pair_records import Embed

HashNgrams = Callable[[list[str]], Ngrams]
# Share of the available memory for the sums; batches in flight and the writer use the rest.
SHARE = 0.7


def build_prototypes(
    pairs: Iterable[Any],
    out: str | os.PathLike[str],
    memory: str | int | None = None,
    embed: "Embed | None" = None,
    dtype: str = "float32",
    ngrams: HashNgrams | None = None,
) -> PhraseTable:
    """Computes the prototypes of all queries in a stream of (query, embedding) pairs and writes a table.

    Embeddings are L2-normalised and added up as integers, multiples of 2^-36. The table is therefore the same to the
    last bit for any order, batching and sharding of the pairs and for any `memory`. Sums that do not fit in `memory` go
    to a temporary folder beside `out`. Rows are sorted by the phrases' UTF-8. A query whose embeddings cancel out is
    left out. A phrase has the language that most of its pairs name, the alphabetically first of several, and "en" if
    none is named.

    Args:
        pairs: one of two forms:
            - an iterable of (query, embedding [D]) or (query, embedding, language), or of batches of them: (B queries,
              [B, D]) or (B queries, [B, D], B languages). Embeddings may have any length above 0.
            - a file name or glob pattern, or a list of them, of TFRecord shards. Records are tf.train.Examples with
              `query` (UTF-8, one or several), `embedding` (floats) or `image` (an encoded picture), and optionally
              `language` (one per query).
        out: the table's folder: new, empty, or a table's, which gets its next generation. It is locked during the
            build.
        memory: a size such as "2GB", or a number of bytes, for the whole process including what it already holds. None
            means 2 GB, or 1 GB more than the process holds if that is more.
        embed: for shards with pictures, a `PhraseGenerator` or a function from uint8 [b, S, S, 3] to [b, D].
        dtype: dtype of the prototypes, "float32" or "float16".
        ngrams: a function from b queries to their n-grams, which the table stores for a text encoder; None stores none.

    Returns:
        The table, opened from `out`: prototypes [N, D] L2-normalised, counts int64 [N], the number of pairs.

    Raises:
        InputError: there is no pair; a query is empty, not a str or longer than 1,000 bytes; an embedding is zero, not
            finite or of another length; a query has more than 2^27 - 1 pairs; all queries cancel out; a shard is
            damaged or lacks features; a picture does not decode; or `memory` is too small. `out` is unchanged then.

    Example:
        >>> pairs = [("red car", [3.0, 0.0]), ("car", [3.0, 0.0]), ("car", [0.0, 5.0])]
        >>> table = cv.build_prototypes(pairs, "table")
        >>> list(table.phrases), table.counts.tolist()
        (['car', 'red car'], [2, 1])
    """
    limit = max(2 * GIGABYTE, resident() + GIGABYTE) if memory is None else byte_size(memory)
    room(limit)  # raises before anything is read
    shards = _shards(pairs)
    if shards:
        from ctxvision.vocabulary._pair_records import (
            read_pairs,
        )  # imports TensorFlow, which only shards need

        batches = read_pairs(shards, embed)
    elif embed is not None:
        raise InputError(
            f"embed must be None unless pairs names TFRecord shards, got {embed!r}: embed the pictures yourself."
        )
    else:
        batches = pair_batches(pairs)
    return table_of_sums(_sums(batches), out, limit, dtype, ngrams)


def table_of_sums(
    parts: Iterable[QuerySums],
    out: str | os.PathLike[str],
    limit: int,
    dtype: str = "float32",
    ngrams: HashNgrams | None = None,
) -> PhraseTable:
    """Writes a table from rows of sums, which may repeat queries; the rest is as in `build_prototypes`."""
    parts = iter(parts)
    first = next(parts, None)
    if first is None:
        raise InputError(
            "pairs must hold at least one (query, embedding), got none: check the source of the pairs."
        )
    dim = first.sums.shape[1] - 1
    with PhraseTableWriter(out, dim, dtype) as writer, _spill_folder(Path(out)) as folder:
        # The room is measured now, because computing the first part imports TensorFlow.
        sums = PartialSums(folder, dim, int(SHARE * room(limit)))
        for part in itertools.chain([first], parts):
            check_dim(dim, part.sums.shape[1] - 1, part.queries[0])
            sums.add(part)
        written = 0
        for queries, languages, rows in sums.merged():
            prototypes, directed = prototypes_of(rows)
            kept = np.flatnonzero(directed)
            if len(kept):
                names = [queries[i] for i in kept]
                writer.append(
                    names,
                    prototypes[kept],
                    rows[kept, -1],
                    [languages[i] for i in kept],
                    ngrams=ngrams(names) if ngrams else None,
                )
                written += len(kept)
        if not written:
            raise InputError(
                f"pairs must leave a direction to at least one query, got embeddings that cancel out for all, for "
                f"example {queries[0]!r}: check the embeddings."
            )
    return PhraseTable.load(out)


def _shards(pairs: Any) -> list[str | os.PathLike[str]]:
    """Returns the file names in `pairs`, an empty list if `pairs` is not one or several file names."""
    names = [pairs] if isinstance(pairs, (str, os.PathLike)) else pairs
    listed = isinstance(names, (list, tuple)) and all(isinstance(name, (str, os.PathLike)) for name in names)
    return list(names) if listed else []


def _sums(batches: Iterable[PairBatch]) -> Iterator[QuerySums]:
    for queries, embeddings, languages in batches:
        step = max(1, STEP_VALUES // (embeddings.shape[1] + 1))
        for start in range(0, len(queries), step):
            part = slice(start, start + step)
            yield QuerySums(
                queries[part],
                None if languages is None else languages[part],
                rows_of(queries[part], embeddings[part]),
            )


@contextmanager
def _spill_folder(out: Path) -> Iterator[Path]:
    """Makes a temporary folder beside `out`, and deletes those of killed builds: the writer's lock excludes others."""
    prefix = f".{out.name}.sums-"
    for left in out.absolute().parent.glob(f"{glob.escape(prefix)}*"):
        shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=out.absolute().parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
