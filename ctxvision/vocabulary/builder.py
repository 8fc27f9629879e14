"""Prototypes: the mean embedding of each query's pictures (Eq. 2), from any number of pairs in bounded memory."""

import glob
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ctxvision.errors import InputError
from ctxvision.vocabulary._fixed_point import STEP_VALUES, prototypes_of, rows_of
from ctxvision.vocabulary._memory import GIGABYTE, byte_size, resident, room
from ctxvision.vocabulary._pair_streams import PairBatch, check_dim, pair_batches
from ctxvision.vocabulary._partial_sums import PartialSums, QuerySums
from ctxvision.vocabulary.phrase_table import PhraseTable
from ctxvision.vocabulary.phrase_table_writer import PhraseTableWriter

if TYPE_CHECKING:
    from ctxvision.vocabulary._pair_records import Embed

# Of the memory that is left for the sums; the rest is for batches on their way and for the writer.
SHARE = 0.7


def build_prototypes(
    pairs: Iterable[Any],
    out: str | os.PathLike[str],
    memory: str | int | None = None,
    embed: "Embed | None" = None,
    dtype: str = "float32",
) -> PhraseTable:
    """Writes the table of all queries in a stream of (query, embedding) pairs.

    Embeddings are L2-normalised and added up as integers, multiples of 2^-36: in whatever order the pairs come, however
    they are batched or sharded and however little memory there is, the table is the same to the last bit. Sums that do
    not fit in `memory` go to a temporary folder beside `out`. Rows come out sorted by the phrase's UTF-8. A query
    whose embeddings cancel each other out is left out. A phrase's language is the one that most of its pairs name, among
    equals the smaller code, and "en" where none is named.

    Args:
        pairs: any iterable of (query, embedding [D]) or (query, embedding, language), or of batches of them: (B queries,
            [B, D]) or (B queries, [B, D], B languages). Embeddings may have any length above 0. Or a file name,
            a pattern or a list of them, TFRecord shards of tf.train.Example with the features `query` (UTF-8, one or
            several), `embedding` (floats) or `image` (an encoded picture) and, where known, `language` (one for each
            query).
        out: folder of the table: new, empty or a table's, which gets its next generation. It is locked meanwhile.
        memory: such as "2GB", or a number of bytes, for the whole process, what it holds already included; by default
            2 GB, or 1 GB more than the process holds where that is more.
        embed: where shards hold pictures, a `PhraseGenerator`, or a function from uint8 [b, S, S, 3] to [b, D].
        dtype: of the prototypes, "float32" or "float16".

    Returns:
        The table, opened from `out`: prototypes [N, D] L2-normalised, counts int64 [N] of pairs.

    Raises:
        InputError: no pair at all, a query that is empty, no str or longer than 1,000 bytes, an embedding that is zero, not
            finite or of another length, more than 2^27 - 1 pairs of one query, shards that are damaged or lack features,
            pictures that do not decode, or `memory` below what the process holds already. `out` stays as it was.

    Example:
        >>> pairs = [("red car", [3.0, 0.0]), ("car", [3.0, 0.0]), ("car", [0.0, 5.0])]
        >>> table = build_prototypes(pairs, "table")
        >>> list(table.phrases), table.prototypes.round(3).tolist(), table.counts.tolist()
        (['car', 'red car'], [[0.707, 0.707], [1.0, 0.0]], [2, 1])
    """
    limit = max(2 * GIGABYTE, resident() + GIGABYTE) if memory is None else byte_size(memory)
    room(limit)  # refuses before anything is read
    shards = _shards(pairs)
    if shards:
        from ctxvision.vocabulary._pair_records import read_pairs  # TensorFlow is needed for shards alone

        batches = read_pairs(shards, embed)
    elif embed is not None:
        raise InputError(
            f"embed must be left out where pairs are no TFRecord shards, got {embed!r}: embed the pictures yourself."
        )
    else:
        batches = pair_batches(pairs)
    return table_of_sums(_sums(batches), out, limit, dtype)


def table_of_sums(
    parts: Iterable[QuerySums], out: str | os.PathLike[str], limit: int, dtype: str = "float32"
) -> PhraseTable:
    """Writes the table of rows of sums, which may name a query any number of times; else as `build_prototypes`."""
    parts = iter(parts)
    first = next(parts, None)
    if first is None:
        raise InputError(
            "pairs must hold at least one (query, embedding), got none: check where they come from."
        )
    dim = first.sums.shape[1] - 1
    with PhraseTableWriter(out, dim, dtype) as writer, _spill_folder(Path(out)) as folder:
        # What the first part took, such as TensorFlow, is no room for sums.
        sums = PartialSums(folder, dim, int(SHARE * room(limit)))
        for part in itertools.chain([first], parts):
            check_dim(dim, part.sums.shape[1] - 1, part.queries[0])
            sums.add(part)
        written = 0
        for queries, languages, rows in sums.merged():
            prototypes, directed = prototypes_of(rows)
            kept = np.flatnonzero(directed)
            if len(kept):
                writer.append(
                    [queries[i] for i in kept], prototypes[kept], rows[kept, -1], [languages[i] for i in kept]
                )
                written += len(kept)
        if not written:
            raise InputError(
                f"pairs must leave a direction to at least one query, got embeddings that cancel out for all, such as "
                f"{queries[0]!r}: check the embeddings."
            )
    return PhraseTable.load(out)


def _shards(pairs: Any) -> list[str | os.PathLike[str]]:
    """The file names in `pairs`, if it is any."""
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
    """A temporary folder beside `out`; those that killed builds left go, for the writer's lock is held."""
    prefix = f".{out.name}.sums-"
    for left in out.absolute().parent.glob(f"{glob.escape(prefix)}*"):
        shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=out.absolute().parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
