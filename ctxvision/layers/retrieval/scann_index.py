"""Builds ScaNN's index over any number of rows in bounded memory."""

import ctypes
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf
from scann.scann_ops.py import scann_ops, scann_ops_pybind

from ctxvision.layers.retrieval.supported_rows import Rows

# ScaNN's recommendation: anisotropic loss with this threshold, two dimensions per block.
ANISOTROPIC_THRESHOLD = 0.2
DIMENSIONS_PER_BLOCK = 2
_SMALLEST_SAMPLE = 100_000
_SAMPLE_PER_LEAF = 64
_ROWS_AT_A_TIME = 1 << 19
_ROWS_OF_A_TASK = 256
_ALIGNMENT = 64  # bytes


def build_index(
    prototypes: Rows, ids: np.ndarray, num_lists: int, probes: int, depth: int
) -> scann_ops.ScannState:
    """Builds ScaNN's tree of anisotropic codes with exact re-ranking, over the rows `ids` of `prototypes`.

    ScaNN's own builder holds several copies of all rows at once. This function lets it learn partitions and codebook
    from a sample of the size that it would use, and then adds all rows block by block as later rows, which ScaNN codes
    in the same way.

    Args:
        prototypes, ids, num_lists, probes, depth: as in `ScannSearch`.
    """
    size = min(len(ids), max(_SMALLEST_SAMPLE, _SAMPLE_PER_LEAF * num_lists))
    sample = np.sort(np.random.default_rng(0).choice(ids, size, replace=False))
    leaves = np.empty(len(ids), np.int32)
    codes = np.empty((len(ids), -(-prototypes.shape[1] // DIMENSIONS_PER_BLOCK)), np.uint8)
    rows = _aligned(len(ids), prototypes.shape[1])
    with tempfile.TemporaryDirectory() as learnt, tempfile.TemporaryDirectory() as coded:
        (
            scann_ops_pybind.builder(np.asarray(prototypes[sample], np.float32), depth, "dot_product")
            .tree(num_lists, probes, training_sample_size=size, spherical=True)
            .score_ah(DIMENSIONS_PER_BLOCK, anisotropic_quantization_threshold=ANISOTROPIC_THRESHOLD)
            .reorder(depth)
            .build()
            .serialize(learnt)
        )
        _give_back_memory()
        for start in range(0, len(ids), _ROWS_AT_A_TIME):
            part = slice(start, min(start + _ROWS_AT_A_TIME, len(ids)))
            rows[part] = prototypes[ids[part]]
            # Uses the C++ object behind ScaNN's Python searcher, which would require a name for each row.
            searcher = scann_ops_pybind.load_searcher(learnt).searcher
            searcher.reserve(size + len(rows[part]))
            searcher.upsert([None] * len(rows[part]), rows[part], _ROWS_OF_A_TASK)
            searcher.serialize(coded, False)
            del searcher
            _give_back_memory()
            leaves[part] = np.load(Path(coded, "datapoint_to_token.npy"))[size:]
            codes[part] = np.load(Path(coded, "hashed_dataset.npy"))[size:]
        config, partitioner, codebook = (
            [Path(learnt, f"{name}.pb").read_bytes()]
            for name in ("scann_config", "serialized_partitioner", "ah_codebook")
        )
    nothing = tf.zeros([], tf.int8), tf.zeros([]), tf.zeros([])  # int8 rows, their multipliers and norms
    # TensorFlow would copy the array twice, and would copy a variable that is filled block by block at each read.
    shared = tf.experimental.dlpack.from_dlpack(rows.__dlpack__())
    return scann_ops.ScannState([config, partitioner, leaves, codebook, codes, *nothing, shared])


def _give_back_memory() -> None:
    """Returns freed memory to the system: gigabytes of small pieces at 10M rows, which the C library would keep."""
    ctypes.CDLL(None).malloc_trim(0)  # a function of glibc, which ScaNN's wheels require


def _aligned(num_rows: int, dim: int) -> np.ndarray:
    """Allocates float32 [num_rows, dim], aligned so that TensorFlow can use it without a copy."""
    memory = np.empty(num_rows * dim + _ALIGNMENT // 4, np.float32)
    start = -memory.ctypes.data % _ALIGNMENT // 4
    return memory[start : start + num_rows * dim].reshape(num_rows, dim)
