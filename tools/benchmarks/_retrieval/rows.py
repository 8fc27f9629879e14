"""Makes rows, queries, and the true nearest rows of the queries."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ctxvision._files import atomic_directory, atomic_path
from ctxvision._mapped import release
from ctxvision.vocabulary import PhraseTable
from ctxvision.vocabulary.phrase_table_writer import PhraseTableWriter

DIM = 64
MOST_QUERIES = 1000  # for tuning, and the same number for measuring
DEPTH = 10
_ROWS_PER_CLUSTER = 100
_NOISE = 0.7
_ROWS_AT_A_TIME = 1 << 16
_PICTURES_AT_A_TIME = 256

Chunks = Iterator[np.ndarray]


def prepare(folder: Path, rows: int, run: str | None, embeddings: Path) -> None:
    """Makes the data folder of a benchmark.

    The folder has `table` (a phrase table), `tuning.npy` and `measuring.npy` (queries, float32 [Q, 64]), and their
    nearest rows in `tuning-nearest.npy` and `measuring-nearest.npy` (int32 [Q, 10]).

    Args:
        folder: the new folder.
        rows: N.
        run: folder of a trained run whose pictures are embedded; None makes synthetic rows.
        embeddings: file for the run's embeddings, which is made if it is missing or too short.
    """
    if run is None:
        chunks, queries = synthetic_rows(rows), synthetic_queries(rows)
    else:
        chunks, queries = picture_rows(rows, run, embeddings), picture_queries(run)
    with atomic_directory(folder) as temporary:
        with PhraseTableWriter(temporary / "table", DIM) as writer:
            start = 0
            for chunk in chunks:
                writer.append([f"phrase {i}" for i in range(start, start + len(chunk))], chunk)
                start += len(chunk)
        prototypes = PhraseTable.load(temporary / "table").prototypes
        truth = nearest(prototypes, np.concatenate(queries))
        for name, part, found in zip(("tuning", "measuring"), queries, np.split(truth, [len(queries[0])])):
            np.save(temporary / f"{name}.npy", part)
            np.save(temporary / f"{name}-nearest.npy", found)


# === Synthetic ===


def synthetic_rows(rows: int) -> Chunks:
    """Yields directions in clusters of about 100, float32 [<= 65536, 64] each."""
    centres = _centres(rows)
    for chunk, start in enumerate(range(0, rows, _ROWS_AT_A_TIME)):
        yield _near(centres, min(_ROWS_AT_A_TIME, rows - start), seed=(1, chunk))


def synthetic_queries(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Makes queries for tuning and for measuring, which are other directions of the same clusters."""
    centres = _centres(rows)
    return _near(centres, MOST_QUERIES, seed=(2, 0)), _near(centres, MOST_QUERIES, seed=(3, 0))


def _centres(rows: int) -> np.ndarray:
    random = np.random.default_rng((0, rows))
    return _unit(random.standard_normal((max(1, rows // _ROWS_PER_CLUSTER), DIM), np.float32))


def _near(centres: np.ndarray, count: int, seed: tuple[int, int]) -> np.ndarray:
    random = np.random.default_rng(seed)
    noise = random.standard_normal((count, DIM), np.float32) * np.float32(_NOISE / np.sqrt(DIM))
    return _unit(centres[random.integers(0, len(centres), count)] + noise)


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


# === Pictures ===


def picture_rows(rows: int, run: str, file: Path) -> Chunks:
    """Yields embeddings of the run's `web` pictures, each augmented as in training, in as many passes as needed."""
    if not file.exists() or len(np.load(file, mmap_mode="r")) < rows:
        _embed_augmented(rows, run, file)
    stored = np.load(file, mmap_mode="r")
    for start in range(0, rows, _ROWS_AT_A_TIME):
        yield stored[start : min(start + _ROWS_AT_A_TIME, rows)]


def picture_queries(run: str) -> tuple[np.ndarray, np.ndarray]:
    """Makes queries from `val` and `test` pictures without augmentation, half for tuning and half for measuring."""
    import ctxvision as cv

    opened = cv.Run(run)
    splits = ["val", *opened.data.test_splits]
    queries = np.concatenate([opened.query_embeddings(split) for split in splits])
    queries = np.random.default_rng(0).permutation(queries)[: 2 * MOST_QUERIES]
    return queries[: len(queries) // 2], queries[len(queries) // 2 :]


def _embed_augmented(rows: int, run: str, file: Path) -> None:
    import tensorflow as tf

    import ctxvision as cv
    from ctxvision.data import training_batches

    opened = cv.Run(run)
    pictures, generator = opened.data.pictures("web"), opened.phrase_generator
    embed = tf.function(lambda pixels: generator(pixels, training=False))
    with atomic_path(file) as temporary:
        out = np.lib.format.open_memmap(temporary, "w+", np.float32, (rows, DIM))
        done, turn = 0, 0
        while done < rows:
            for (pixels,) in training_batches(pictures, (), _PICTURES_AT_A_TIME, seed=0, epoch=turn):
                part = embed(pixels).numpy()[: rows - done]
                out[done : done + len(part)] = part
                done += len(part)
                if done == rows:
                    break
            turn += 1
        out.flush()


# === Truth ===


def nearest(prototypes: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Finds the rows with the largest cosine, int32 [Q, 10], best first; reads rows in blocks."""
    import tensorflow as tf

    best = np.full((len(queries), DEPTH), -np.inf, np.float32)
    ids = np.zeros((len(queries), DEPTH), np.int32)
    for start in range(0, len(prototypes), _ROWS_AT_A_TIME):
        block = np.asarray(prototypes[start : start + _ROWS_AT_A_TIME])
        scores, places = tf.math.top_k(tf.matmul(queries, block, transpose_b=True), min(DEPTH, len(block)))
        best = np.concatenate([best, scores], axis=1)
        ids = np.concatenate([ids, places.numpy() + start], axis=1)
        release(prototypes)
        order = np.argsort(-best, axis=1, kind="stable")[:, :DEPTH]
        best, ids = np.take_along_axis(best, order, axis=1), np.take_along_axis(ids, order, axis=1)
    return ids
